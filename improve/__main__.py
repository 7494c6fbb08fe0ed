"""`python -m improve grpo | rounds`: make a model better by its own solutions and their rewards."""

from __future__ import annotations

import argparse

from improve import config as recipe
from improve.config import GrpoConfig, RoundsConfig
from sandbox.command import run_command
from sandbox.flags import Parser, program, version
from trainer.arguments import add_flags, settings_of

# first setting of each group in the help
_GRPO_GROUPS = {
    "model": "what learns from what",
    "updates": "what is sampled",
    "kl": "the objective",
    "correct": "the rewards",
    "learning_rate": "the optimiser",
    "row_tokens": "how it is computed",
    "backend": "what samples, and the log",
}
_ROUNDS_GROUPS = {"model": "what learns from what", "rounds": "a round", "sample_flags": "flags of its stages"}


def main(argv: list[str]) -> int:
    """Run the command in `argv`; see `--help`."""
    given = vars(parser().parse_args(argv))
    command = given.pop("command")
    if command == "grpo":
        config = settings_of(GrpoConfig, given, f"{program('improve')} grpo")
        from improve.grpo import grpo

        return grpo(config)
    from improve.rounds import rounds

    return rounds(settings_of(RoundsConfig, given, f"{program('improve')} rounds"))


def parser() -> Parser:
    """The parser: a flag for each setting of `GrpoConfig` and `RoundsConfig`."""
    whole = Parser(prog=program("improve"), description=__doc__)
    whole.add_argument("--version", action="version", version=version())
    commands = whole.add_subparsers(required=True, metavar="COMMAND", dest="command")
    grpo = commands.add_parser(
        "grpo", help="sample groups, reward, learn, again: solutions are compared with others of their problem",
        description="Learn from rewards by GRPO. The defaults are DeepSeekMath-RL's.",
        usage="%(prog)s --model MODEL --problems FILE --out OUT [FLAG …]",
        epilog=(recipe.__doc__ or "").split("\n\n")[1], argument_default=argparse.SUPPRESS,
        examples="--model runs/sft --problems runs/gsm8k/problems.jsonl --out runs/grpo",
    )  # fmt: skip
    add_flags(grpo, GrpoConfig, _GRPO_GROUPS)
    rounds = commands.add_parser(
        "rounds", help="sample, keep what is right, train on it, examine, again: expert iteration",
        usage="%(prog)s --model MODEL --problems FILE --exam FILE --out OUT [FLAG …]",
        description="Learn from the model's own right solutions, round by round.", argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    add_flags(rounds, RoundsConfig, _ROUNDS_GROUPS)
    return whole


if __name__ == "__main__":
    raise SystemExit(run_command(main))
