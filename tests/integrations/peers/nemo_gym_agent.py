"""NeMo-Gym's SimpleAgent rolls out over HTTP with our resources server; its model is scripted. Argument: URL."""

import asyncio
import json
import os
import sys
import tempfile

import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from nemo_gym.base_resources_server import ResourcesSeedSessionRequest
from nemo_gym.config_types import ModelServerRef, ResourcesServerRef
from nemo_gym.episode_types import EpisodeId, TaskId
from nemo_gym.server_utils import get_global_aiohttp_client
from nemo_gym.testing.session_conformance import check_resources_session_contract
from nemo_gym_parts import call, client_of, message, request, resources, response
from responses_api_agents.simple_agent.app import SimpleAgent, SimpleAgentConfig

CODE = ["x = 6\nprint('six')", "x * 7", "1 / 0"]
ROLLOUTS = [CODE, [CODE[0], CODE[2], CODE[1]]]  # in the first the last program fails
steps = []
outputs = []
serving = []


def model():
    """Plays `steps`, and keeps what the tool answered."""
    app = FastAPI()

    @app.post("/v1/responses")
    async def responses(request: Request):
        given = [item for item in (await request.json())["input"] if item.get("type") == "function_call_output"]
        outputs[:] = [json.loads(item["output"]) for item in given]
        return response(steps[len(given)])

    return app


async def serve(app):
    """The port of `app`, in this event loop, to which NeMo-Gym's one client of a process belongs."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving.append((server, asyncio.create_task(server.serve())))
    while not server.started:
        await asyncio.sleep(0.01)
    return server.servers[0].sockets[0].getsockname()[1]


async def agent_for(sandbox, **fields):
    """A client of an agent whose tools are ours."""
    ports = {"policy": await serve(model()), "soroban": await serve(resources(sandbox, **fields).setup_webserver())}
    places = {}
    for kind, name in (("responses_api_models", "policy"), ("resources_servers", "soroban")):
        places[name] = {kind: {name: {"host": "127.0.0.1", "port": ports[name], "entrypoint": "app.py"}}}
    config = SimpleAgentConfig(
        host="127.0.0.1",
        port=0,
        entrypoint="app.py",
        name="agent",
        resources_server=ResourcesServerRef(type="resources_servers", name="soroban"),
        model_server=ModelServerRef(type="responses_api_models", name="policy"),
    )
    servers = client_of(places)
    agent = SimpleAgent(config=config, server_client=servers)
    place = {"host": "127.0.0.1", "port": await serve(agent.setup_webserver()), "entrypoint": "app.py"}
    servers.global_config_dict["agent"] = {"responses_api_agents": {"agent": place}}
    return servers


async def rolled_out(servers, codes):
    calls = [call("execute_python", json.dumps({"code": code})) for code in codes]
    steps[:] = [*calls, message("It is $\\boxed{42}$.")]
    answer = await servers.post(server_name="agent", url_path="/run", json=request("6 times 7?", "42"))
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def main(url):
    servers = await agent_for(url)
    for codes, used in zip(ROLLOUTS, (0.0, 1.0), strict=True):  # the second sees nothing of the first
        done = await rolled_out(servers, codes)
        assert (done["reward"], done["accuracy"], done["mask_sample"]) == (1.0, True, False), done
        assert (done["well_formed"], done["tool_use"], done["extracted_answer"]) == (1.0, used, "42"), done
        first, second, third = (outputs[codes.index(code)] for code in CODE)
        assert first == {"success": True, "stdout": "six\n", "stderr": "", "error_message": None, "result": None}
        assert (second["success"], second["result"]) == (True, "42"), second
        assert third["success"] is False
        assert "ZeroDivisionError" in third["error_message"], third
    broken = await rolled_out(await agent_for("http://127.0.0.1:9", patience_seconds=0.2), CODE)
    assert (broken["reward"], broken["mask_sample"]) == (0.0, True), "a failure of ours is no sample"
    assert (broken["failure_kind"], broken["response"]["output"][-1]["type"]) == ("provider_unavailable", "message")
    assert broken["failure_reason"].startswith("SandboxUnavailable: "), broken["failure_reason"]
    await get_global_aiohttp_client().close()
    for server, task in serving:
        server.should_exit = True
        await task


def contract(url):
    """NeMo-Gym's own check of a server that keeps sessions; and a session ends with its name."""
    server = resources(url, max_execution_time=1)
    app = server.setup_webserver()
    episode, task = EpisodeId(rollout_id="r"), TaskId(taskset="maths", task_id="1")
    seed = ResourcesSeedSessionRequest(resources_session_id="s", episode_id=episode, task_id=task, task_data={})
    check_resources_session_contract(app, seed, keeps_state=True)
    with TestClient(app) as client:
        seed = seed.model_copy(update={"resources_session_id": "other"})
        client.post("/seed_session", json=seed.model_dump(mode="json")).raise_for_status()
        client.post("/execute_python", json={"code": "x = 6"}).raise_for_status()
        assert client.post("/execute_python", json={"code": "x"}).json()["result"] == "6"
        assert list(server._sessions) == ["other"]
        slow = client.post("/execute_python", json={"code": "import time; time.sleep(3)"}).json()
        assert (slow["success"], "ended by timeout" in slow["error_message"]) == (False, True), slow
        client.post("/execute_python", json={"code": "x = 6"}).raise_for_status()
        client.post("/end_session").raise_for_status()
        assert "NameError" in client.post("/execute_python", json={"code": "x"}).json()["error_message"]
        ended = {"resources_session_id": "other", "episode_id": episode.model_dump(mode="json")}
        client.post("/close_session", json=ended).raise_for_status()
        assert not server._sessions


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())  # its settings are logged where it runs
    # NeMo-Gym reads settings from the command line: it pins an older openai than the test run has.
    URL, sys.argv[1:] = sys.argv[1], ["+allow_openai_version_skew=true"]
    asyncio.run(main(URL))
    contract(URL)
