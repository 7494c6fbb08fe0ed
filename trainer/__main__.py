"""`python -m trainer --model M --data D --out O`: from a mixture to a model that vLLM loads."""

from __future__ import annotations

from sandbox.command import run_command, uninterrupted
from trainer.arguments import parse_config, parser
from trainer.run_folder import claim, drop_checkpoints

__all__ = ["main", "parser"]


def main(argv: list[str]) -> int:
    config = parse_config(argv)
    if claim(config):
        drop_checkpoints(config)
        print(f"{config.out} is already trained with these settings")
        return 0
    with uninterrupted():
        from trainer.train import train  # torch: only when there is something to do

    return train(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
