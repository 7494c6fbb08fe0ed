"""Problems of our own making for the demo: word problems in English and Chinese with solutions in three styles."""
