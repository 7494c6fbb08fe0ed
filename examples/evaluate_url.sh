#!/usr/bin/env bash
# Score a model that a server of OpenAI's kind serves already, with and without the Python tool: a table and a report.
#
#   python -m dataset fetch gsm8k
#   vllm serve Qwen/Qwen2.5-Math-7B-Instruct &
#   examples/evaluate_url.sh http://127.0.0.1:8000/v1 Qwen/Qwen2.5-Math-7B-Instruct runs/qwen --benchmark gsm8k
#
# MODEL is the server's name for it, and where its tokenizer is (give --tokenizer where that is elsewhere). Further flags
# go to `evaluator run`: --limit 200, --sandbox http://box:8000, --samples 4 --temperature 0.7 … Run it again to go on.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 URL MODEL OUT --benchmark NAME [flags of evaluator run]" >&2; exit 2; }
url=$1 model=$2 out=$3
shift 3
python=${PYTHON:-python}
"$python" -m evaluator run --url "$url" --model "$model" --tools --no-tools --out "$out" "$@"
"$python" -m evaluator table "$out"
"$python" -m evaluator report "$out" --out "$out/report.html"
