"""What the two scripts for NeMo-Gym share: its own types, filled."""

from nemo_gym.openai_utils import (
    NeMoGymResponse,
    NeMoGymResponseCreateParamsNonStreaming,
    NeMoGymResponseFunctionToolCall,
    NeMoGymResponseOutputMessage,
    NeMoGymResponseOutputText,
)
from nemo_gym.server_utils import BaseServerConfig, ServerClient
from omegaconf import DictConfig

from integrations.nemo_gym import SorobanConfig, SorobanResourcesServer


def message(text):
    content = [NeMoGymResponseOutputText(text=text, annotations=[])]
    return NeMoGymResponseOutputMessage(id="m", content=content)


def call(name, arguments):
    return NeMoGymResponseFunctionToolCall(name=name, arguments=arguments, call_id="c", id="c")


def response(*output):
    made = NeMoGymResponse(
        id="r",
        created_at=0,
        model="scripted",
        object="response",
        output=list(output),
        parallel_tool_calls=False,
        tool_choice="auto",
        tools=[],
    )
    return made.model_dump(mode="json")


def request(question, reference):
    params = NeMoGymResponseCreateParamsNonStreaming(input=[{"role": "user", "content": question}])
    return {"responses_create_params": params.model_dump(mode="json", exclude_unset=True), "expected_result": reference}


# Without a reference, with an empty one, without a response.
REFUSED = [
    {name: value for name, value in request("1", "1").items() if name != "expected_result"} | {"response": response()},
    {**request("1", ""), "response": response()},
    request("1", "1"),
]


def client_of(servers=None):
    """NeMo-Gym's client, told where its servers are as its head server tells it."""
    head = BaseServerConfig(host="127.0.0.1", port=9)
    return ServerClient(head_server_config=head, global_config_dict=DictConfig(servers or {}))


def resources(sandbox, port=0, **fields):
    config = SorobanConfig(host="127.0.0.1", port=port, entrypoint="app.py", name="soroban", sandbox=sandbox, **fields)
    return SorobanResourcesServer(config=config, server_client=client_of())
