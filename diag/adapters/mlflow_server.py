"""A running MLflow tracking server, asked over its REST API with the standard library."""

from __future__ import annotations

import json
import math
import os
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np

from diag.adapters.mlflow_runs import MILLISECONDS, RUN_ID, Selection, StoredRun, by_time, chosen, infinities
from diag.adapters.series import Series
from diag.adapters.tolerant_json import number
from diag.errors import InputError
from diag.text import without_credentials

API: Final = "/api/2.0/mlflow/"
TIMEOUT_SECONDS: Final = 30.0
"""Seconds without an answer after which a server counts as unreachable (a long metric history may take some)."""
PAGE: Final = 1000
"""Runs or experiments asked for at a time; servers allow at least this many."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
MAX_PAGES: Final = 100_000
"""Pages after which a server that always promises another one is given up."""
LOGIN: Final = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
ADVICE: Final = "check that an MLflow server runs there, for example: mlflow server --host 127.0.0.1 --port 5000"


class Server:
    """A tracking server at a base address such as ``http://127.0.0.1:5000``, or ``https://user:password@host``.

    Without credentials in the address, those are used that MLflow's client takes from the environment:
    ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, or ``MLFLOW_TRACKING_TOKEN``.
    """

    def __init__(self, address: str) -> None:
        self._given = address.rstrip("/")
        self.address = without_credentials(self._given)
        # A proxy cannot reach this machine's own loopback, whatever the environment says.
        self._opener = build_opener(ProxyHandler({})) if urlsplit(address).hostname in LOOPBACK else build_opener()
        self._authorization = _authorization(address)

    def read(self, selection: Selection) -> list[StoredRun]:
        """The selected runs with their metrics.

        Raises:
            InputError: the server cannot be reached, is none of MLflow's, or refuses.
        """
        runs = chosen(self._runs(selection), selection)
        for run in runs:
            run.place = self._given
            for key in sorted(run.metrics):
                run.metrics[key] = self._history(run.id, key)
        return runs

    def _runs(self, selection: Selection) -> Iterator[StoredRun]:
        """Runs that may be selected; of their metrics only the keys."""
        ids = [run for run in selection.runs if RUN_ID.fullmatch(run)]
        if ids and len(ids) == len(selection.runs):
            names = self._experiments() if selection.experiments or selection.either else {}
            for run_id in ids:
                answer = self._get("runs/get", {"run_id": run_id}, missing_ok=True)
                if answer is not None:
                    yield _stored(answer.get("run"), names)
            return
        experiments = self._experiments()
        wanted = [key for key, name in experiments.items() if not selection.experiments or {key, name} & set(selection.experiments)]
        if selection.either and not selection.experiments:
            named = [key for key in wanted if {key, experiments[key]} & set(selection.either)]
            wanted = named or wanted
        for start in range(0, len(wanted), PAGE):
            body = {"experiment_ids": wanted[start : start + PAGE], "max_results": PAGE, "run_view_type": "ACTIVE_ONLY"}
            for answer in self._pages("runs/search", body):
                for run in _list(answer, "runs"):
                    yield _stored(run, experiments)

    def _experiments(self) -> dict[str, str]:
        """Id to name of every experiment that is not deleted."""
        found: dict[str, str] = {}
        for answer in self._pages("experiments/search", {"max_results": PAGE}):
            for experiment in _list(answer, "experiments"):
                found[str(experiment.get("experiment_id", ""))] = str(experiment.get("name", ""))
        return found

    def _history(self, run_id: str, key: str) -> Series:
        """All points of one metric, oldest first. No page size is asked for: stores without paging refuse one."""
        parameters = {"run_id": run_id, "metric_key": key}
        points: list[tuple[float, float, float]] = []
        for _ in range(MAX_PAGES):
            answer = self._get("metrics/get-history", parameters) or {}
            for metric in _list(answer, "metrics"):
                value, step, stamp = number(metric.get("value", 0.0)), number(metric.get("step", 0)), number(metric.get("timestamp", 0))
                if value is not None and step is not None and math.isfinite(step):
                    points.append((step, value, (stamp or 0.0) / MILLISECONDS))
            token = answer.get("next_page_token")
            if not token:
                break
            parameters["page_token"] = str(token)
        columns = np.array(points, dtype=np.float64).reshape(-1, 3)
        return by_time(Series(columns[:, 0].astype(np.int64), infinities(columns[:, 1]), columns[:, 2]))

    def _pages(self, method: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The answers to a search, page after page."""
        for _ in range(MAX_PAGES):
            answer = self._call(Request(self._url(method), json.dumps(body).encode(), {"Content-Type": "application/json"}))
            yield answer or {}
            token = (answer or {}).get("next_page_token")
            if not token:
                return
            body = {**body, "page_token": token}

    def _get(self, method: str, parameters: dict[str, str], *, missing_ok: bool = False) -> dict[str, Any] | None:
        return self._call(Request(f"{self._url(method)}?{urlencode(parameters)}"), missing_ok=missing_ok)

    def _url(self, method: str) -> str:
        return f"{self.address}{API}{method}"

    def _call(self, request: Request, *, missing_ok: bool = False) -> dict[str, Any] | None:
        """One answer as a JSON object; None where nothing is there and that is fine.

        Raises:
            InputError: no answer, an error, or something else than JSON.
        """
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                body = response.read()
        except HTTPError as error:
            code, said = _complaint(error)
            if missing_ok and code == "RESOURCE_DOES_NOT_EXIST":
                return None
            if error.code in (401, 403):
                raise InputError(self.address, f"refuses access (HTTP {error.code})", LOGIN) from None
            if error.code == 404 and not code:
                raise InputError(self.address, "answers, but not as an MLflow tracking server (HTTP 404)", ADVICE) from None
            raise InputError(
                self.address, f"answers with HTTP {error.code}{': ' + said if said else ''}", "check the server's log"
            ) from None
        except TimeoutError:
            raise InputError(self.address, f"did not answer within {TIMEOUT_SECONDS:g} seconds", ADVICE) from None
        except URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise InputError(self.address, f"cannot be reached ({str(reason).lower()})", ADVICE) from None
        except (OSError, HTTPException, ValueError) as error:
            raise InputError(self.address, f"cannot be reached ({error})", ADVICE) from None
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise InputError(self.address, "answers, but not as an MLflow tracking server (no JSON)", ADVICE)
        return answer


def _authorization(address: str) -> str:
    """The value of the Authorization header, "" for none."""
    parts = urlsplit(address)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user:
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    if user:
        return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    return f"Bearer {token}" if token else ""


def _complaint(error: HTTPError) -> tuple[str, str]:
    """MLflow's error code and one line of its message, "" where the answer has none."""
    try:
        answer = json.loads(error.read())
    except (OSError, HTTPException, ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    return str(answer.get("error_code", "")), " ".join(str(answer.get("message", "")).split())[:200]


def _list(answer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = answer.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _stored(run: Any, experiments: dict[str, str]) -> StoredRun:
    """A run as the server describes it; its metrics are empty, their keys are what there is."""
    run = run if isinstance(run, dict) else {}
    info = run.get("info") if isinstance(run.get("info"), dict) else {}
    data = run.get("data") if isinstance(run.get("data"), dict) else {}
    tags = {str(tag.get("key", "")): str(tag.get("value", "")) for tag in _list(data, "tags")}
    none = np.empty(0)
    experiment_id = str(info.get("experiment_id", ""))
    start = number(info.get("start_time"))
    return StoredRun(
        id=str(info.get("run_id") or info.get("run_uuid") or ""),
        name=str(info.get("run_name") or tags.get("mlflow.runName", "")),
        experiment_id=experiment_id,
        experiment=experiments.get(experiment_id, ""),
        status=str(info.get("status", "")),
        active=info.get("lifecycle_stage", "active") != "deleted",
        start_time=int(start) if start is not None and math.isfinite(start) else 0,
        params={str(param.get("key", "")): str(param.get("value", "")) for param in _list(data, "params")},
        tags=tags,
        metrics={str(metric.get("key", "")): Series(none.astype(np.int64), none, none) for metric in _list(data, "metrics")},
    )
