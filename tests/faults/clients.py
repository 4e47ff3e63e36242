"""People and programs who ask while services are killed, and note what was acknowledged to them."""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from arena.onboarding import CHECKS

WORDS = "the carousel turns and the music plays on while the lights of the fair go round and round".split()  # noqa: SIM905


class Client(threading.Thread):
    """Asks again and again until told to stop; what it was told stays in its attributes."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.http = httpx.Client(base_url=address, timeout=10)
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.crash: Exception | None = None
        self.n_refused = 0

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.act()
        except Exception as error:
            self.crash = error
        finally:
            self.http.close()

    def act(self) -> None:
        raise NotImplementedError

    def persist(self, call: Callable[[], httpx.Response]) -> httpx.Response | None:
        """Repeat a request while the site is away or says that it is; None when told to stop first."""
        while not self.stopping.is_set():
            try:
                answer = call()
            except httpx.TransportError:
                self.n_refused += 1
            else:
                if answer.status_code < 500:
                    return answer
                self.n_refused += 1
            time.sleep(0.1)
        return None

    def words(self, n: int) -> str:
        return " ".join(self.random.choice(WORDS) for _ in range(n))


class Tracer(Client):
    """Asks for traces with idempotency keys."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(address, seed)
        self.keys: dict[str, str] = {}

    def act(self) -> None:
        key, body = str(uuid.uuid4()), {"text": self.words(40)}
        answer = self.persist(lambda: self.http.post("/api/v1/traces/", json=body, headers={"Idempotency-Key": key}))
        if answer is not None:
            assert answer.status_code == 202, answer.text
            self.keys[key] = answer.headers["Location"]
        time.sleep(0.2)


class Reader(Client):
    """Asks for answers and reads their streams, going on after the last event whenever the line breaks."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(address, seed)
        self.asked: list[str] = []
        self.read: dict[str, str] = {}
        self.n_resumed = 0

    def act(self) -> None:
        body: dict[str, Any] = {"prompt": self.words(4), "max_tokens": 64, "seed": self.random.randrange(1000)}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = self.persist(lambda: self.http.post("/api/v1/generations/", json=body, headers=headers))
        if answer is None:
            return
        assert answer.status_code == 202, answer.text
        location = answer.headers["Location"]
        self.asked.append(location)
        self.follow(location)

    def follow(self, location: str) -> None:
        pieces: dict[int, str] = {}
        while not self.stopping.is_set():
            last = max(pieces, default=0)
            try:
                with self.http.stream("GET", f"{location}stream/", headers={"Last-Event-ID": str(last)}) as stream:
                    if stream.status_code >= 500:
                        time.sleep(0.1)
                        continue
                    assert stream.status_code == 200
                    if self._read(stream, pieces, after=last):
                        self.read[location] = "".join(pieces[number] for number in sorted(pieces))
                        return
            except httpx.TransportError:
                pass
            self.n_resumed += 1
            time.sleep(0.1)

    @staticmethod
    def _read(stream: httpx.Response, pieces: dict[int, str], *, after: int) -> bool:
        """Collect tokens by their event's number; tell whether the answer ended."""
        event, number = "", 0
        for line in stream.iter_lines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: ") and event == "token":
                assert number > after, "an event came twice"
                pieces[number] = httpx.Response(200, content=line[6:]).json()["text"]
            elif line.startswith("data: ") and event == "done":
                return True
        return False


class Voter(Client):
    """Fights battles on the pages, without an account, and notes each vote that was acknowledged."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(address, seed)
        self.is_ready = False
        self.votes: dict[str, str] = {}

    def act(self) -> None:
        if not self.is_ready:
            answers = {check.id: check.right for check in CHECKS}
            answer = self.send("/arena/guidelines/", "/arena/guidelines/", answers)
            self.is_ready = answer is not None and answer.status_code == 303
            return
        started = self.send("/arena/", "/arena/", {"prompt": self.words(5)})
        if started is None:
            return
        if started.status_code != 303:
            self.give_up_open_battle()
            return
        self.judge(started.headers["location"])

    def judge(self, page: str) -> None:
        battle = page.split("/")[3]
        while not self.stopping.is_set():
            shown = self.persist(lambda: self.http.get(page))
            if shown is None:
                return
            if 'name="verdict"' in shown.text:
                break
            if "Both contestants are answering" not in shown.text:  # an answer failed, or it was closed as left
                return
            time.sleep(0.1)
        verdict = self.random.choice(["a", "b", "tie", "both_bad"])
        answer = self.send(page, f"{page}vote/", {"verdict": verdict})
        if answer is not None and answer.status_code == 303:
            self.votes[battle] = verdict
        self.send(page, f"{page}reveal/", {})

    def give_up_open_battle(self) -> None:
        shown = self.persist(lambda: self.http.get("/arena/"))
        found = re.search(r"/arena/battles/[0-9a-f-]{36}/", shown.text) if shown is not None else None
        if found:
            self.send(found[0], f"{found[0]}skip/", {})
        time.sleep(0.2)

    def send(self, page: str, address: str, fields: dict[str, str]) -> httpx.Response | None:
        """Post a form as a browser does, with the token of its page."""

        def post() -> httpx.Response:
            if "csrftoken" not in self.http.cookies:
                self.http.get(page)
            token = self.http.cookies.get("csrftoken", "")
            return self.http.post(address, data={**fields, "csrfmiddlewaretoken": token})

        return self.persist(post)
