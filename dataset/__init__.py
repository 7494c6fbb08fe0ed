"""What a problem, a solution and a right answer are; sources, verification and mixture of training data."""
