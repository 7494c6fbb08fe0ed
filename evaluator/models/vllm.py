"""vLLM in this process: `AsyncLLM` batches whatever is ready, and keeps the cache of common beginnings.

The code is the same with and without a GPU. On a CPU the engine is told to compile nothing and to use float32, which a
small model wants; with a GPU vLLM's own defaults hold. Importing vLLM costs ten seconds: it happens in `open_vllm`.

Greedy decoding in bfloat16 depends on what else is in the batch (vllm issues 5898 and 11658); the version and the data
type are recorded with the results and part of their key.
"""

from __future__ import annotations

import asyncio
import difflib
import gc
import itertools
import math
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dataset.chat import ChatFormat
from dataset.files import hub_commit
from dataset.transcript import STOP
from evaluator.models.adapter import adapter_rank
from evaluator.models.chat import open_chat, template_fact
from evaluator.models.lifeline import Lifeline
from evaluator.models.replicas import Replicas
from evaluator.models.tokens import end_at_stop
from evaluator.models.types import Generation, ModelDied, ModelError, ModelOptions, Sampling
from sandbox.errors import InputError

# Half a share of a small machine's memory goes to the cache; GiB.
_CPU_CACHE_GIB = 1


def open_vllm(name: str, options: ModelOptions) -> VllmModel | Replicas:
    """The model in the folder or of the Hub name `name`, loaded, as often as there are to be replicas.

    Raises:
        InputError: no tokenizer or chat template, an option that vLLM does not know, or vLLM cannot load it.
    """
    forkable = "torch" not in sys.modules
    # One core is left to the sandbox and to this process, as vLLM itself does where it spawns. OpenMP reads this once.
    threads = (len(os.sched_getaffinity(0)) - 1) // options.replicas
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
    import torch

    on_cpu = not torch.cuda.is_available()
    _set_defaults(local=Path(name).is_dir(), on_cpu=on_cpu)
    # vLLM's own use of torch, nothing that a user could mend; on a CPU its engine is forked and imports more of it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import vllm

    about = {"torch": torch.__version__, "device": "cpu" if on_cpu else torch.cuda.get_device_name(0)}
    models: list[VllmModel] = []
    try:
        for own in [None] if options.replicas == 1 else _shares(options, on_cpu=on_cpu):
            if own is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = own  # read by the engine's process when it starts
            config = _engine_config(name, options, on_cpu=on_cpu)
            if on_cpu and forkable:
                # Each configuration of the CPU platform asks for "spawn", which imports torch and vLLM again in each of
                # two processes: 45 s to start against 18 s, measured. Safe while torch has computed nothing here: a
                # fork leaves OpenMP's threads behind.
                os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
            models.append(_start(name, options, config, vllm.__version__, about))
    except BaseException:
        for model in models:
            model.end()
        raise
    return models[0] if len(models) == 1 else Replicas(models)


def _shares(options: ModelOptions, *, on_cpu: bool) -> list[str | None]:
    """The GPUs of each replica, as CUDA numbers them; None where there is none to share.

    Raises:
        InputError: more are asked for than there are.
    """
    if on_cpu:
        return [None] * options.replicas
    import torch

    each = math.prod(int(options.engine.get(f"{kind}_parallel_size", 1)) for kind in ("tensor", "pipeline", "data"))
    seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    devices = seen.split(",")
    if options.replicas * each > len(devices):
        raise InputError(
            f"--replicas {options.replicas} need {options.replicas * each} GPUs ({each} each), there are {len(devices)}"
        )
    return [",".join(devices[place * each : (place + 1) * each]) for place in range(options.replicas)]


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
        "commit": hub_commit(name, options.revision),
        "chat_template": template_fact(chat, options),
    }
    lora = None
    if options.adapter is not None:
        from vllm.lora.request import LoRARequest

        lora = LoRARequest("adapter", 1, str(options.adapter.resolve()))
    return VllmModel(engine, lifeline, chat, cache_tokens, decides, about, lora)


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
    if options.adapter is not None:
        rank = adapter_rank(options.adapter, name)
        engine |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": next(r for r in _LORA_RANKS if r >= rank)}
    known = {field.name for field in fields(AsyncEngineArgs)}
    for option in options.engine:
        if option in _OWN_FLAGS:
            raise InputError(f"--engine {option}: say it by {_OWN_FLAGS[option]}")
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            raise InputError(
                f"--engine {option}: vLLM has no such option" + (f"; did you mean {near[0]}?" if near else "")
            )
    try:
        return AsyncEngineArgs(**{**engine, **options.engine}).create_engine_config()
    except (ValueError, OSError, TypeError, NotImplementedError, AssertionError) as error:
        given = ", ".join(f"{option}={value}" for option, value in options.engine.items())
        told = f" with --engine {given}" if given else ""
        raise InputError(f"vLLM cannot load the model {name}{told}: {_first_line(error)}") from None


_OWN_FLAGS = {
    "model": "--model",
    "tokenizer": "--tokenizer",
    "max_model_len": "--context-tokens",
    "dtype": "--dtype",
    "revision": "--revision",
    "tokenizer_revision": "--revision",
    "enable_lora": "--adapter",
    "max_lora_rank": "--adapter",
}
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has kernels for


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
        lora: Any = None,
    ) -> None:
        self._engine: Any = engine
        self._lora = lora
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
            prompt = {"prompt_token_ids": list(tokens)}
            stream = self._engine.generate(prompt, params, request_id, lora_request=self._lora)
            answers = [answer async for answer in stream]
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
            ids, text, mended = end_at_stop(ids, STOP, self.chat.decode, self.chat.piece)
            return Generation(ids, text, "output", mended)
        return Generation(ids, self.chat.decode(ids), "end")

    async def take_weights(self, folder: Path) -> None:
        """See `Teachable.take_weights`."""
        try:
            # vLLM's own way to reload in place: each layer's weights in the file's form, kernels' forms made anew.
            await self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder.resolve())})
            await self._engine.reset_prefix_cache()
        except Exception as error:  # whatever the engine's process raised comes back, of any type
            raise ModelError(f"vLLM did not take the weights in {folder}: {_first_line(error)}") from error

    def end(self) -> Any:
        """End the engine's process; return what is left of the engine, None if it had ended already."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()
            self._lifeline.cut()
        return engine

    async def close(self) -> None:
        """See `Model.close`."""
        engine = self.end()
        if engine is None:
            return
        handler = engine.output_handler
        if handler is not None:
            await asyncio.wait({handler})
        # The engine stands in cycles. Left to the interpreter's end, its __del__ would call what is no more.
        del engine, handler
        gc.collect()


def _first_line(error: BaseException) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        # Its text ends with the whole of what was given and an address.
        told = [(".".join(map(str, one["loc"])), " ".join(one["msg"].split())) for one in error.errors()]
        return "; ".join(f"{where}: {what}" if where else what for where, what in told)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]) if lines else type(error).__name__
