"""The bodies of requests, field by field as OpenAI names them. What is not served here is refused by its name, never ignored,
unless leaving it out changes no answer."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=128)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Guidance = Annotated[float, Field(ge=0, le=20, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[float, Field(ge=1, le=1)]
Nothing = Annotated[dict[str, Any], Field(max_length=0)]


class Body(BaseModel):
    """Without fields that nobody knows."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Ignored(Body):
    """Fields that say something about the client, or its bill, and change no answer."""

    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None


class Sampled(Ignored):
    """How choices are drawn. `seed` and `guidance`, which pushes towards the prompt, are ours where OpenAI has none."""

    model: str | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    seed: Seed | None = None
    guidance: Guidance | None = None


# ------------------------------------------------------------------ chat


class AnyPart(Body):
    """What may be said of every part, and changes no answer."""

    prompt_cache_breakpoint: Any = None


class TextPart(AnyPart):
    """Words."""

    type: Literal["text"]
    text: Text


class Url(Body):
    """A file as a `data:` URL."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(AnyPart):
    """A picture, or an animation, which is a film."""

    type: Literal["image_url"]
    image_url: Url


class VideoPart(AnyPart):
    """A film; OpenAI has no such part, and others spell it so."""

    type: Literal["video_url"]
    video_url: Url


class InputAudio(Body):
    """A sound in base64. What it is, its content says."""

    data: str
    format: str


class AudioPart(AnyPart):
    """A sound."""

    type: Literal["input_audio"]
    input_audio: InputAudio


Part = Annotated[TextPart | ImagePart | VideoPart | AudioPart, Field(discriminator="type")]


class Message(Body):
    """One turn; all turns are given to the model, in order."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: None = None
    audio: None = None
    annotations: list[Any] | None = None
    """Of an answer that comes back as a turn; they say where its words are from, and change no answer."""
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: None = None


class StreamOptions(Body):
    """Of a chat."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class AudioOptions(Body):
    """`voice` changes nothing: the model has the voices that its words ask for."""

    voice: Any = None
    format: Literal["wav", "mp3", "flac", "opus", "pcm16"] = "wav"


class TextFormat(Body):
    """The only form of an answer."""

    type: Literal["text"]


class ChatBody(Sampled):
    """Of `/v1/chat/completions`. Pictures come as `message.images`, where other servers put them too."""

    messages: Annotated[list[Message], Field(min_length=1)]
    modalities: Annotated[list[Literal["text", "audio", "image"]], Field(min_length=1)] | None = None
    audio: AudioOptions | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Nothing | None = None
    response_format: TextFormat | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    functions: None = None
    function_call: None = None
    prediction: None = None
    web_search_options: None = None
    moderation: None = None


# ------------------------------------------------------------------ pictures


class ImageBody(Sampled):
    """Of `/v1/images/generations`."""

    prompt: Text
    n: Count | None = None
    size: str | None = None
    quality: Literal["auto", "standard"] | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    style: None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None


# ------------------------------------------------------------------ sounds


class SpeechBody(Sampled):
    """Of `/v1/audio/speech`. `voice` changes nothing: the model has the voices that its words ask for."""

    input: Text
    voice: Any = None
    response_format: Literal["mp3", "opus", "flac", "wav", "pcm"] | None = None
    stream_format: Literal["audio", "sse"] | None = None
    speed: One | None = None
    instructions: Annotated[str, Field(max_length=0)] | None = None


# ------------------------------------------------------------------ films


class VideoBody(Sampled):
    """Of `/v1/videos`. The model itself says how long a film is, at most nine frames, a second in all."""

    prompt: Text
    seconds: Literal["1", 1] | None = None
    size: str | None = None
    input_reference: Any = None


class VideoNowBody(VideoBody):
    """Of `/v1/videos/generations`, which answers with the films themselves. `input_reference`, a `data:` URL, is the first
    frame."""

    n: Count | None = None
    output_format: Literal["mp4", "gif", "webp"] | None = None
    input_reference: str | None = None
