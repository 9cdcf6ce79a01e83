"""What was learnt, in memory, for a server that answers at once."""

from collections import OrderedDict
from threading import Event, Lock, Thread

import structlog

from prelabel.errors import StoreUnavailable
from prelabel.learning.archive import loads
from prelabel.learning.sequence import Learned
from prelabel.store.learned import LearnedVersion, LearnedVersions, Scope

log = structlog.get_logger(__name__)

MOST_LOADED = 64
"""Projects whose learner is held in memory; of more, those that were asked for last."""

_SHOWN = 20
"""Versions of each that are shown; to read thousands takes longer than whoever asks may wait."""


class Learner:
    """The version of each project that answers now, kept up with the store by a thread.

    Whoever trains, in whatever process: all that share the store answer with the new version
    within about a second. A version is swapped as a whole; who holds the old one finishes with it.

    Args:
        versions: The store.
        url: The Label Studio that projects belong to.
        poll_s: Pause between two looks at the store.
        most: See `MOST_LOADED`.
    """

    def __init__(
        self, versions: LearnedVersions, url: str, *, poll_s: float = 1.0, most: int = MOST_LOADED
    ) -> None:
        self._versions = versions
        self._url = url
        self._poll_s = poll_s
        self._most = most
        self._lock = Lock()
        self._refreshing = Lock()
        self._active: dict[Scope, int] = {}
        self._asked: OrderedDict[Scope, None] = OrderedDict()  # the one asked for last at the end
        self._loaded: dict[Scope, tuple[int, Learned]] = {}
        self._unreadable: dict[Scope, int] = {}
        self._store_is_away = False
        self._awake = Event()
        self._stopping = Event()
        self._thread = Thread(target=self._keep_up, name="learner", daemon=True)

    def start(self) -> None:
        """Begin to keep up with the store."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end; what is loaded goes on answering."""
        self._stopping.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join(1.0)  # a store that hangs is no reason to wait

    def of(self, project: int, created: int | None = None) -> tuple[int, Learned] | None:
        """The version that answers for a project and its learner; never waits for the store.

        A project that was not loaded, because more than `most` were learnt, is from now on, and
        answers within a moment.

        Args:
            project: Its number in Label Studio.
            created: When it was made, in whole seconds since 1970; without it, the newest
                project of this number.
        """
        with self._lock:
            scope = self._scope(project, created)
            if scope is None:
                return None
            self._asked[scope] = None
            self._asked.move_to_end(scope)
            found = self._loaded.get(scope)
            if found is None and self._unreadable.get(scope) != self._active[scope]:
                self._awake.set()
            return found

    def refresh(self) -> None:
        """Take over now what the store has; what cannot be read is passed over."""
        with self._refreshing:
            try:
                active = self._versions.active_numbers()
            except StoreUnavailable as error:
                if not self._store_is_away:
                    log.warning("learnt versions wait for the database", reason=str(error))
                self._store_is_away = True
                return
            self._store_is_away = False
            with self._lock:
                self._active = {scope: n for scope, n in active.items() if scope.url == self._url}
                self._asked = OrderedDict((s, None) for s in self._asked if s in self._active)
                wanted = self._wanted()
                self._loaded = {s: found for s, found in self._loaded.items() if s in wanted}
                stale = [scope for scope in wanted if not self._was_tried(scope)]
            for scope in stale:
                self._load(scope)

    def histories(self, most: int) -> dict[Scope, list[LearnedVersion]]:
        """The latest versions of projects that have a learner, newest first; waits for the store.

        Args:
            most: Projects, at most: those with the highest numbers.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        mine = [scope for scope in self._versions.active_numbers() if scope.url == self._url]
        newest = sorted(mine, key=lambda scope: (scope.project, scope.created))[-most:]
        return {scope: self._versions.history(scope, _SHOWN) for scope in reversed(newest)}

    def _scope(self, project: int, created: int | None) -> Scope | None:
        """Of the projects with this number the one that is meant; 0 stands for an unknown date."""
        known = [scope for scope in self._active if scope.project == project]
        if created is not None:
            known = [scope for scope in known if scope.created in (created, 0)]
        return max(known, key=lambda scope: scope.created, default=None)

    def _wanted(self) -> list[Scope]:
        return list(dict.fromkeys([*reversed(self._asked), *self._active]))[: self._most]

    def _was_tried(self, scope: Scope) -> bool:
        """Whether the version that answers is loaded, or cannot be read."""
        loaded, _ = self._loaded.get(scope, (0, None))
        return self._active[scope] in (loaded, self._unreadable.get(scope))

    def _load(self, scope: Scope) -> None:
        try:
            active = self._versions.active(scope)
        except StoreUnavailable:  # the next look says so
            return
        if active is None:
            return
        try:
            learned = loads(active.model)
        except ValueError as error:
            log.error(  # noqa: TRY400 - a traceback into a damaged file tells nothing more
                "learnt version cannot be read",
                project=scope.project,
                version=active.version,
                reason=str(error),
            )
            self._unreadable[scope] = active.version
            return
        with self._lock:
            self._loaded = {**self._loaded, scope: (active.version, learned)}

    def _keep_up(self) -> None:
        while not self._stopping.is_set():
            try:
                self.refresh()
            except Exception:
                log.exception("defect", thing="learnt versions")  # what is loaded goes on
            self._awake.wait(self._poll_s)
            self._awake.clear()
