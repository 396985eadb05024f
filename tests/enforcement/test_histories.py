"""Whatever is asked in whatever order, and wherever the process dies, the store stays in order."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from collector.enforcement.action import Answer, Reply, Runtime
from collector.enforcement.control import ControlStore
from collector.enforcement.messages import Limits
from collector.enforcement.transitions import OWNED, STOPS, STRENGTH
from collector.errors import Refused
from collector.model import HaltState, Verb
from detectors.model import SessionKey

KEYS = [SessionKey("t", "", name) for name in "abc"]
RUNTIMES = [Runtime(url=f"http://127.0.0.1:{port}/", secret=SecretStr("s")) for port in (1, 2)]
VERBS = [Verb.HALT, Verb.PAUSE, Verb.COMPACT, Verb.RELEASE]

key = st.sampled_from(KEYS)
operation = st.one_of(
    st.tuples(st.just("ask"), key, st.sampled_from(VERBS), st.sampled_from([None, "fnd_1", "fnd_2"])),
    st.tuples(st.just("merge"), key, key),
    st.tuples(st.just("answer"), st.sampled_from(RUNTIMES), st.sampled_from(list(Reply))),
    st.tuples(st.just("lose"), st.sampled_from(RUNTIMES)),
    st.tuples(st.just("reassert"), key),
    st.tuples(st.just("quiet"), key),
    st.tuples(st.just("retarget"), st.sampled_from([RUNTIMES, RUNTIMES[:1], []])),
)


class History:
    """Performs operations and compares, after each, what must always hold."""

    def __init__(self, control: ControlStore) -> None:
        self.control = control
        self.now_ns = 10**12
        self.generations = dict.fromkeys(KEYS, 0)
        self.configured = RUNTIMES

    def do(self, name: str, *arguments: object) -> None:
        self.now_ns += 10**10
        perform: Callable[..., None] = getattr(self, name)
        perform(*arguments)
        self.check()

    def ask(self, session: SessionKey, verb: Verb, finding: str | None) -> None:
        before = self.control.active(session)
        try:
            halt = self.control.request_halt(
                session,
                verb,
                halt_reason=None,
                requested_by="x",
                finding=None if finding is None else f"{finding}_{session.session_id}",
                now_ns=self.now_ns,
                runtimes=self.configured,
            )
        except Refused:
            assert self.control.active(session) == before
            return
        after = self.control.active(session)
        if before is not None and verb in STOPS:
            assert after is not None
            assert STRENGTH[after.verb] >= STRENGTH[before.verb], "nothing but a release weakens"
        if verb is Verb.RELEASE:
            assert after is None
        assert halt.session == self.control.get(halt.halt_id).session

    def merge(self, absorbed: SessionKey, survivor: SessionKey) -> None:
        held = [self.control.active(session) for session in (absorbed, survivor)]
        self.control.merge(absorbed, survivor, now_ns=self.now_ns, runtimes=self.configured)
        if any(held):
            active = self.control.active(survivor)
            assert active is not None, "if either is held, the survivor is"
            assert STRENGTH[active.verb] == max(STRENGTH[one.verb] for one in held if one is not None)
            assert self.control.active(absorbed) == active

    def answer(self, runtime: Runtime, reply: Reply) -> None:
        for message in self.control.claim(runtime.url, now_ns=self.now_ns, lease_ns=10**9, limit=2):
            self.control.finish(message, Answer(reply=reply), now_ns=self.now_ns, retry_ns=self.now_ns, limits=Limits())

    def lose(self, runtime: Runtime) -> None:
        self.control.claim(runtime.url, now_ns=self.now_ns, lease_ns=10**9, limit=2)

    def reassert(self, session: SessionKey) -> None:
        active = self.control.active(session)
        if active is not None:
            self.control.reassert(active.halt_id, now_ns=self.now_ns, runtimes=self.configured)

    def quiet(self, session: SessionKey) -> None:
        active = self.control.active(session)
        if active is not None:
            self.control.quiet(active.halt_id, now_ns=self.now_ns)

    def retarget(self, runtimes: list[Runtime]) -> None:
        self.configured = runtimes
        self.control.retarget(runtimes, now_ns=self.now_ns)

    def check(self) -> None:
        for session in KEYS:
            generation = self.control.generation(session)
            assert generation >= self.generations[session], "a generation never falls"
            self.generations[session] = generation
            active = self.control.active(session)
            if active is None:
                continue
            assert active.verb in STOPS
            assert active.state is not HaltState.SUPERSEDED
            assert active.generation <= generation
            if active.state not in OWNED and self.configured:
                assert self.waiting(active.halt_id), f"a halt that is {active.state} must still be on its way"
        with self.control.database.reading() as c:
            stale = c.execute(
                "SELECT count(*) FROM outbox o JOIN halts h USING (halt_id) "
                "WHERE o.state IN ('pending', 'claimed') AND h.state = 'superseded'"
            ).fetchone()[0]
        assert stale == 0, "what is superseded is not delivered"

    def waiting(self, halt_id: str) -> bool:
        with self.control.database.reading() as c:
            query = "SELECT count(*) FROM outbox WHERE halt_id = ? AND state IN ('pending', 'claimed')"
            return bool(c.execute(query, (halt_id,)).fetchone()[0])


@settings(max_examples=300, deadline=None)
@given(st.lists(operation, max_size=25))
def test_every_history_keeps_the_order(operations: list[tuple[object, ...]]) -> None:
    control = ControlStore(":memory:")
    history = History(control)
    for name, *arguments in operations:
        history.do(str(name), *arguments)
    control.close()
