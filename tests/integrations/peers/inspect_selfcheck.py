"""inspect_ai's own checks of our sandbox environment. Argument: URL. Prints a JSON object: the error of each, or ""."""

import asyncio
import json
import sys

from inspect_ai.util._sandbox import self_check

from integrations.inspect_sandbox import SorobanConfig, SorobanSandboxEnvironment


async def checked(url, name):
    config = SorobanConfig(url=url)
    environments = await SorobanSandboxEnvironment.sample_init("self_check", config, {})
    try:
        await getattr(self_check, name)(environments["default"])
        return ""
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its finding
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        await SorobanSandboxEnvironment.sample_cleanup("self_check", config, environments, False)


async def main(url):
    found = await asyncio.gather(*(checked(url, name) for name in self_check.__all__))
    print(json.dumps(dict(zip(self_check.__all__, found, strict=True))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
