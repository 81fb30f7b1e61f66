"""`/v1/models`, and what those ask who look after a server: whether it is there, and what it does."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ernest.serve import errors
from ernest.serve.models import ModelName
from ernest.serve.service import Served, Service

router = APIRouter()


@router.get("/v1/models")
async def list_models(service: Served) -> Response:
    """The checkpoints, and the sub-models that were named when the server was started."""
    return errors.Json({"object": "list", "data": [_model(name, service) for name in service.catalogue.listed]})


@router.get("/v1/models/{model:path}")
async def show_model(model: str, service: Served) -> Response:
    """One of them, or any other sub-model: whoever names its size may use it."""
    found = service.find(model)
    await service.scheduler.check(found)
    return errors.Json(_model(found, service))


@router.get("/healthz")
async def health(service: Served) -> Response:
    """200 once the server can answer, and 503 until then."""
    ready = service.scheduler.ready
    return errors.Json({"status": "ok" if ready else "loading"}, 200 if ready else 503)


@router.get("/metrics")
async def metrics(service: Served) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _model(name: ModelName, service: Service) -> dict[str, Any]:
    return {"id": str(name), "object": "model", "created": service.started, "owned_by": "ernest"}
