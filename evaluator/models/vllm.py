"""vLLM in this process: `AsyncLLM` batches whatever is ready, and keeps the cache of common beginnings.

The code is the same with and without a GPU. On a CPU the engine is told to compile nothing and to use float32, which a
small model wants; with a GPU vLLM's own defaults hold. Importing vLLM costs ten seconds: it happens in `open_vllm`.

Greedy decoding in bfloat16 depends on what else is in the batch (vllm issues 5898 and 11658); the version and the data
type are recorded with the results and part of their key.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset.chat import ChatFormat
from dataset.transcript import STOP
from evaluator.models.chat import open_chat, template_fact
from evaluator.models.lifeline import Lifeline
from evaluator.models.tokens import end_at_stop
from evaluator.models.types import Generation, ModelDied, ModelError, ModelOptions, Sampling
from sandbox.errors import InputError

# Half a share of a small machine's memory goes to the cache; GiB.
_CPU_CACHE_GIB = 1


def open_vllm(name: str, options: ModelOptions) -> VllmModel:
    """The model in the folder or of the Hub name `name`, loaded.

    Raises:
        InputError: no tokenizer or chat template, or vLLM cannot load it.
    """
    forkable = "torch" not in sys.modules
    # One core is left to the sandbox and to this process, as vLLM itself does where it spawns. OpenMP reads this once.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) - 1)))
    import torch

    on_cpu = not torch.cuda.is_available()
    _set_defaults(local=Path(name).is_dir(), on_cpu=on_cpu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # vLLM's own use of torch, nothing that a user could mend
        import vllm

    config = _engine_config(name, options, on_cpu=on_cpu)
    if on_cpu and forkable:
        # The CPU platform asks for "spawn", which imports torch and vLLM again in each of two processes: 45 s to start
        # against 18 s, measured. Safe while torch has computed nothing here: a fork leaves OpenMP's threads behind.
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    about = {"torch": torch.__version__, "device": "cpu" if on_cpu else torch.cuda.get_device_name(0)}
    return _start(name, options, config, vllm.__version__, about)


def _start(name: str, options: ModelOptions, config: Any, version: str, about: Mapping[str, Any]) -> VllmModel:
    """The engine, started. Apart from the imports: one that fails keeps its callers' frames and all that is in them."""
    from vllm.v1.engine.async_llm import AsyncLLM

    before = multiprocessing.active_children()
    try:
        engine = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"vLLM cannot start with the model {name}: {_first_line(error)}; its own log says more"
        ) from error
    lifeline = Lifeline.of_children_since(before)
    try:
        chat = open_chat(engine.get_tokenizer(), name, options)
    except BaseException:
        engine.shutdown()
        lifeline.cut()
        raise
    blocks = config.cache_config.num_gpu_blocks or 0
    cache_tokens = blocks * config.cache_config.block_size
    decides = {
        "name": "vllm",
        "version": version,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "context_tokens": config.model_config.max_model_len,
        "quantization": config.model_config.quantization,
        "commit": getattr(config.model_config.hf_config, "_commit_hash", None),
        "chat_template": template_fact(chat, options),
    }
    return VllmModel(engine, lifeline, chat, cache_tokens, decides, about)


def _set_defaults(*, local: bool, on_cpu: bool) -> None:
    """What vLLM reads from the environment when it is imported; what the user has set stays."""
    if on_cpu:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(_CPU_CACHE_GIB))
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if local:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _engine_config(name: str, options: ModelOptions, *, on_cpu: bool) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs

    engine: dict[str, Any] = {"model": name, "max_model_len": options.context_tokens, "enable_log_requests": False}
    engine["revision"] = engine["tokenizer_revision"] = options.revision
    if on_cpu:
        from vllm.v1.executor.uniproc_executor import UniProcExecutor

        engine |= {
            # No prompt is cut in pieces: for each that is and has a seed vLLM 0.32 winds its generator back, which one
            # on the CPU cannot do, and the engine dies (gpu_model_runner.py, `gen.set_offset`). vLLM then gives a step
            # room for the longest context.
            "enable_chunked_prefill": False,
            # The model in the scheduler's own process. vLLM would have it in a second one, which its OpenMP settings
            # take (ours are in the environment already), and the scheduler burn a whole core waiting for it: one of two
            # here, and the sandbox's programs would run at the model's expense.
            "distributed_executor_backend": UniProcExecutor,
            "dtype": options.dtype or "float32",
            "enforce_eager": True,
            "use_tqdm_on_load": False,
            "gpu_memory_utilization": 0.2,
            # Only whole blocks are found again in the cache, and each program breaks a solution in two. The CPU's own
            # 128 would have up to 127 tokens computed again each time; 32 is the least that its kernels take.
            "block_size": 32,
        }
    elif options.dtype:
        engine["dtype"] = options.dtype
    try:
        return AsyncEngineArgs(**engine).create_engine_config()
    except (ValueError, OSError) as error:
        raise InputError(f"vLLM cannot load the model {name}: {_first_line(error)}") from None


class VllmModel:
    """An engine and its tokenizer; see `Model`."""

    def __init__(
        self,
        engine: Any,
        lifeline: Lifeline,
        chat: ChatFormat,
        cache_tokens: int,
        engine_facts: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        self._engine: Any = engine
        self._lifeline = lifeline
        self._numbers = itertools.count()
        self.chat = chat
        self.context_tokens: int = engine_facts["context_tokens"]
        self.cache_tokens = cache_tokens
        self.engine = engine_facts
        self.about = about

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """See `Model.generate`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        params = SamplingParams(
            max_tokens=max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            seed=sampling.seed if sampling.temperature else None,
            stop=[STOP] if tools else None,
            include_stop_str_in_output=True,
            stop_token_ids=list(self.chat.ends),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        request_id = f"{key}:{next(self._numbers)}"
        try:
            answers = [a async for a in self._engine.generate({"prompt_token_ids": list(tokens)}, params, request_id)]
        except EngineDeadError as error:
            raise ModelDied(f"the vLLM engine died while it answered {key}; its own log says why") from error
        except (EngineGenerateError, ValueError) as error:
            raise ModelError(f"vLLM did not answer {key}: {error}") from error
        if not answers or not answers[-1].outputs:
            raise ModelError(f"vLLM answered {key} with nothing")
        output = answers[-1].outputs[0]
        ids = list(output.token_ids)
        if output.finish_reason == "length":
            return Generation(ids, self.chat.decode(ids), "length")
        if output.finish_reason != "stop":
            raise ModelError(f"vLLM ended its answer to {key} with {output.finish_reason!r}")
        if output.stop_reason == STOP:
            ids, text = end_at_stop(ids, STOP, self.chat.decode, self.chat.piece)
            return Generation(ids, text, "output")
        return Generation(ids, self.chat.decode(ids), "end")

    async def close(self) -> None:
        """See `Model.close`."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        handler = engine.output_handler
        engine.shutdown()
        self._lifeline.cut()
        if handler is not None:
            await asyncio.wait({handler})
        # The engine stands in cycles. Left to the interpreter's end, its __del__ would call what is no more.
        del engine, handler
        gc.collect()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # pydantic puts its summary first and what is wrong after it
    return " ".join(lines[:3]) if lines else type(error).__name__
