"""One thread owns the models: it takes works from the event loop, steps the engines, and hands their news back.

Works join and leave between two groups of the batch, so nobody waits for another one's answer to end.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from ernest.config.media import MediaSpec
from ernest.device import set_threads
from ernest.serve import errors
from ernest.serve.limits import Limits
from ernest.serve.listener import Listener, decode
from ernest.serve.loaded import Loaded
from ernest.serve.metrics import Metrics
from ernest.serve.models import ModelName
from ernest.serve.work import Accepted, Update, Work

T = TypeVar("T")
log = logging.getLogger("ernest.serve")


class Job:
    """A work under way, as the event loop sees it: await its news, or close it, which stops the model's work on it."""

    def __init__(self, work: Work, scheduler: "Scheduler") -> None:
        self.work, self.accepted = work, Accepted(0)
        self.left = self._due = work.samples
        self.started = time.monotonic()
        self._scheduler = scheduler
        self._news: asyncio.Queue[Update | errors.ApiError] = asyncio.Queue()
        seconds = scheduler.limits.answer_seconds
        self._too_late = asyncio.get_running_loop().call_later(seconds, lambda: self.tell(errors.late(seconds)))

    async def updates(self) -> AsyncIterator[Update]:
        """News until all samples have ended. Raises ApiError for a failure, and after too long a time."""
        while self._due:
            news = await self._news.get()
            if isinstance(news, errors.ApiError):
                raise news
            self._due -= news.what == "end"
            yield news

    @property
    def has_news(self) -> bool:
        """Whether what follows need not wait for the model."""
        return not self._due or not self._news.empty()

    def tell(self, news: Update | errors.ApiError) -> None:
        """Queues news; called on the event loop."""
        self._news.put_nowait(news)

    def close(self) -> None:
        """Gives the work up, where it has not ended. Needs no await, so it also works while its task is being cancelled."""
        self._too_late.cancel()
        self._scheduler.drop(self)


class Scheduler:
    """The models of some folders on a thread of their own. All methods but those of the thread belong to the event loop."""

    def __init__(self, folders: Mapping[str, Path], limits: Limits, metrics: Metrics) -> None:
        self.folders, self.limits, self.metrics = folders, limits, metrics
        self.models: dict[str, Loaded] = {}
        self.ready = False
        self.failure: Exception | None = None
        self.waited_for = 0
        self._jobs: dict[tuple[str, int], tuple[Job, Listener]] = {}
        self._tickets: dict[Job, tuple[str, int]] = {}
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._settled: list[Callable[[], None]] = []
        self._rate = 1.0
        self._thread = Thread(target=self._run, name="model", daemon=True)

    # -------------------------------------------------------------- on the event loop

    def start(self, on_failure: Callable[[], None] = lambda: None) -> None:
        """Begins to load; `on_failure` is called where that fails."""
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self._thread.start()

    async def stop(self) -> None:
        """Ends the thread after the step that it is in."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join, 10)

    async def submit(self, work: Work) -> Job:
        """Queues a work. Raises ApiError while the models are being loaded, where the queue is full, and for a work that the
        model refuses."""
        self.check_room(work.samples)
        job = Job(work, self)
        self.waited_for += work.samples
        try:
            job.accepted = await self.call(partial(self._accept, job))
        except BaseException:
            job.close()
            raise
        return job

    def check_room(self, samples: int = 1) -> None:
        """Raises ApiError where so many more answers could not be queued: before work is spent on what they need."""
        if not self.ready:
            raise errors.loading()
        if self.waited_for + samples > self.limits.queue:
            raise errors.busy(self.seconds_to_wait())

    def media(self, checkpoint: str) -> MediaSpec:
        """The sizes and rates of the media of a checkpoint that was loaded, whatever its folder holds by now. Raises ApiError
        while it is being loaded."""
        if not self.ready:
            raise errors.loading()
        return self.models[checkpoint].tokenizers.media

    async def check(self, model: ModelName) -> None:
        """Raises ApiError for a sub-model that a checkpoint cannot be cut to."""
        if not model.size.is_full:
            await self.call(lambda: self.models[model.checkpoint].submodel(model.size))

    async def call(self, function: Callable[[], T]) -> T:
        """The result of a function that runs on the model thread, between two steps. Raises ApiError where it refuses, and while
        the models are being loaded."""
        if not self.ready:
            raise errors.loading()
        answer: asyncio.Future[T] = self._loop.create_future()
        self._inbox.put(partial(self._answer, function, answer))
        return await answer

    def drop(self, job: Job) -> None:
        """Gives up what has not ended of a job."""
        if job.left:
            self.waited_for -= job.left
            job.left = 0
            self._inbox.put(partial(self._cancel, job))

    def seconds_to_wait(self) -> int:
        """Until what is queued will have been answered, by the rate of late."""
        return max(1, min(60, round(self.waited_for / self._rate)))

    def _deliver(self, news: list[tuple[Job, Update | errors.ApiError]]) -> None:
        for job, one in news:
            if job.left:
                ended = job.left if isinstance(one, errors.ApiError) else int(one.what == "end")
                job.left -= ended
                self.waited_for -= ended
                job.tell(one)

    def _loaded(self, failure: Exception | None) -> None:
        self.failure, self.ready = failure, failure is None
        self.metrics.show("ernest_ready", int(self.ready))
        if failure is not None:
            self._on_failure()

    # -------------------------------------------------------------- on the model thread

    def _run(self) -> None:
        try:
            self.models = {name: Loaded(folder, self.limits.rows) for name, folder in self.folders.items()}
        except Exception as error:
            self._post(self._loaded, error)
            return
        if all(model.has_kernels for model in self.models.values()) and "OMP_NUM_THREADS" not in os.environ:
            # What is left to PyTorch is small, and its threads spin while they wait for one whose processor a client has.
            set_threads(1)
        self._post(self._loaded, None)
        while self._take_calls():
            for name, model in self.models.items():
                if model.engine.busy:
                    self._step(name, model)

    def _take_calls(self) -> bool:
        """Does what the event loop asked for, and wakes it once; waits where there is nothing else to do. False is the end."""
        is_idle = not any(model.engine.busy for model in self.models.values())
        goes_on = True
        while goes_on and (is_idle or not self._inbox.empty()):
            call = self._inbox.get()
            goes_on, is_idle = call is not None, False
            if call is not None:
                call()
        if self._settled:
            self._post(_call_all, self._settled)
            self._settled = []
        return goes_on

    def _answer(self, function: Callable[[], T], answer: "asyncio.Future[T]") -> None:
        try:
            result = function()
        except ValueError as error:
            self._settled.append(partial(_fail, answer, errors.refused(error)))
        except Exception as error:
            log.exception("a call on the model thread failed")
            self._settled.append(partial(_fail, answer, error))
        else:
            self._settled.append(partial(_settle, answer, result))

    def _accept(self, job: Job) -> Accepted:
        model = self.models[job.work.model.checkpoint]
        request = model.request(job.work)
        key = job.work.model.checkpoint, model.engine.submit(request)
        self._jobs[key] = job, Listener(job.work, model.engine)
        self._tickets[job] = key
        return Accepted(model.engine.positions(request), model.engine.doubts(request))

    def _cancel(self, job: Job) -> None:
        key = self._tickets.pop(job, None)
        if key is not None:
            del self._jobs[key]
            self.models[key[0]].engine.cancel(key[1])

    def _step(self, name: str, model: Loaded) -> None:
        start = time.perf_counter()
        try:
            events = model.engine.step()
            owned = [(event, self._jobs[name, event.ticket]) for event in events if (name, event.ticket) in self._jobs]
            heard = [(job, update) for event, (job, listener) in owned for update in listener.hear(event)]
            decoded = decode(model.engine, [update for _, update in heard])
        except Exception:
            log.exception("a step of the model failed")
            self._give_up(name, model)
            return
        news = [(job, update) for (job, _), update in zip(heard, decoded, strict=True)]
        for job in {job for job, update in news if update.what == "end"}:
            self._forget_ended(job, model)
        self._count(model, len(events), news, time.perf_counter() - start)
        if news:
            self._post(self._deliver, news)

    def _forget_ended(self, job: Job, model: Loaded) -> None:
        key = self._tickets[job]
        if self._jobs[key][1].ended:
            del self._jobs[key], self._tickets[job]
            model.engine.cancel(key[1])  # what was cut short; nothing, where the model ended it

    def _give_up(self, name: str, model: Loaded) -> None:
        """Nobody knows what a step that failed has left behind: its works fail, and the next ones find a fresh engine."""
        model.renew()
        failed = [job for key, (job, _) in self._jobs.items() if key[0] == name]
        self._jobs = {key: one for key, one in self._jobs.items() if key[0] != name}
        self._tickets = {job: key for job, key in self._tickets.items() if key[0] != name}
        self.metrics.count("ernest_faults_total")
        self._show_occupancy()
        self._post(self._deliver, [(job, errors.failed()) for job in failed])

    def _count(self, model: Loaded, groups: int, news: list[tuple[Job, Update]], seconds: float) -> None:
        self.metrics.count("ernest_steps_total")
        self.metrics.count("ernest_step_seconds_total", seconds)
        self.metrics.count("ernest_groups_total", groups)
        self._show_occupancy()
        for job, update in news:
            if update.what == "end":
                kind = "+".join(job.work.kinds or ("any",))
                waited = time.monotonic() - job.started
                self.metrics.count("ernest_answers_total", kind=kind, end=update.ending)
                self.metrics.time("ernest_answer_seconds", waited, kind=kind)
                # Answers a second while the queue is full, smoothed over the last few.
                self._rate += 0.1 * (min(model.rows, max(1, len(self._jobs))) / max(waited, 1e-3) - self._rate)

    def _show_occupancy(self) -> None:
        occupied = [model.engine.occupancy for model in self.models.values()]
        for name, values in zip(("ernest_rows", "ernest_queue", "ernest_cache_bytes"), zip(*occupied, strict=True), strict=True):
            self.metrics.show(name, sum(values))

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop has been closed: nobody is there to be told
            log.debug("news after the end of the event loop")


def _call_all(functions: list[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _settle(answer: "asyncio.Future[T]", result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[T]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
