"""A model that learns from rewards, and what supervised learning gives it: weights, moments, checkpoints, export."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from dataset.files import sha256
from sandbox.errors import InputError
from trainer import checkpoint
from trainer.architecture import check_config, simplify
from trainer.config import State, TrainConfig
from trainer.export import export, gather_weights
from trainer.grpo import Objective, Sampled, Sums, as_rows, in_one_step, learn
from trainer.model import Learner, build_learner, learner_for, load_weights, pretrained_weights, read_model_config
from trainer.preflight import check_resources, choose_precision, measure
from trainer.self_check import prove
from trainer.step import learning_rate, make_optimizer, peak_memory_bytes
from trainer.tokenizer import load_tokenizer
from trainer.world import World, quiet_and_threads


class Policy:
    """The learner, its optimizer and the frozen reference, which is `config.model` as it came.

    Raises:
        InputError: the model cannot be read or trained, or memory or disk do not suffice, for the reference neither.
    """

    def __init__(self, config: TrainConfig, objective: Objective, world: World) -> None:
        self.config, self.objective, self.world = config, objective, world
        quiet_and_threads(config)
        assert config.model is not None
        model_config = read_model_config(config.model, config.revision)
        check_config(model_config, row_tokens=config.row_tokens)
        self.remarks = simplify(model_config)
        self.tokenizer = load_tokenizer(config.model, config.revision)
        if len(self.tokenizer) > model_config.vocab_size:
            raise InputError(
                f"the tokenizer has {len(self.tokenizer):,} tokens and the model {model_config.vocab_size:,}: "
                "the tokenizer is not this model's"
            )
        self.precision = choose_precision(config, world)
        size = measure(model_config)
        self.parameters = size.parameters
        reference_bytes = size.parameters * self.precision.itemsize if objective.kl else 0
        self.expected_bytes = check_resources(
            model_config, size, config, world, self.precision.itemsize, reference_bytes=reference_bytes
        )
        self.learner = learner_for(config, model_config, world, self.precision)
        self.optimizer = make_optimizer(self.learner, config)
        weights = pretrained_weights(config.model, config.revision)
        load_weights(self.learner, weights, seed=config.seed)
        self.learner.temperature = objective.temperature
        self.learner.train()
        self.reference: Learner | None = None
        if objective.kl:
            state: State = "fp32" if self.precision == torch.float32 else "bf16"
            self.reference = build_learner(model_config, world, precision=self.precision, state=state)
            load_weights(self.reference, weights)
            self.reference.temperature = objective.temperature
            self.reference.requires_grad_(False).eval()
        self._proved = False

    @property
    def checkpoints(self) -> Path:
        return self.config.out / "checkpoints"

    def restore(self) -> int:
        """Go on from the last whole checkpoint, if there is one; the number of updates that are already made."""
        saved = checkpoint.complete(self.checkpoints)
        if not saved:
            return 0
        checkpoint.restore(saved[-1], self.learner, self.optimizer)
        return int(checkpoint.notes(saved[-1])["step"])

    def save(self, update: int) -> None:
        """Write the checkpoint after `update` updates."""
        checkpoint.save(
            self.checkpoints, update, self.learner, self.optimizer, self.world, keep=self.config.keep, notes={}
        )

    def prove(self, groups: Sequence[Sequence[Sampled]]) -> float | None:
        """How far losses are from the model's own, once a run: see `trainer.self_check`."""
        if self._proved:
            return None
        self._proved = True
        order = in_one_step(as_rows([sample for group in groups for sample in group]), self.config.row_tokens)
        return prove(
            self.learner, order, self.world, self.precision, micro_rows=self.config.micro_rows,
            float8=self.config.float8,
        )  # fmt: skip

    def learn(self, update: int, groups: Sequence[Sequence[Sampled]]) -> Sums:
        """Make update `update`, counted from 0."""
        return learn(
            self.learner, self.reference, self.optimizer, groups, self.objective, self.config, self.world,
            rate=self.rate(update),
        )  # fmt: skip

    def rate(self, update: int) -> float:
        """The learning rate of update `update`, counted from 0."""
        return learning_rate(self.config, update)

    def write_weights(self, folder: Path) -> Path:
        """Write `folder`/model.safetensors, whole or not at all: what an open engine takes; returns `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / "model.partial"
        weights = gather_weights(self.learner, self.precision)
        save_file({name: value.contiguous() for name, value in weights.items()}, aside, metadata={"format": "pt"})
        os.replace(aside, folder / "model.safetensors")
        return folder

    def export(self) -> dict[str, str]:
        """Write the model into `config.out`; the hashes of its files."""
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[self.config.export]
        export(self.config.out, self.learner, self.tokenizer, self.world, dtype)
        return {path.name: sha256(path) for path in sorted(self.config.out.glob("*.safetensors"))}

    @property
    def peak_memory_bytes(self) -> int:
        return peak_memory_bytes(self.world.device)
