"""Stands for GitHub's runner: a workflow's steps, in order, in bash, with what they find there.

A step is run as it is written, emulated (`USES`), or replaced by the caller, who names it; anything else is an error.
Of the expressions it knows what these workflows use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TOKEN = "a token"
SYSTEM = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Step:
    """What became of a step: ``ran``, ``emulated``, ``replaced`` or ``skipped``, its exit code, what it said."""

    name: str
    how: str
    code: int = 0
    said: str = ""


@dataclass
class StandIn:
    """A runner.

    Attributes:
        home: Folder that outlives a job, as a machine of one's own has it; the cache, comments and artifacts lie in it.
        repository: What is checked out.
        environment: Variables that this machine needs beside a runner's own.
    """

    home: Path
    repository: Path
    environment: dict[str, str]
    context: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self):
        self.home.mkdir(parents=True, exist_ok=True)
        self.state = self.home / "gh.json"
        if not self.state.exists():
            self.state.write_text(json.dumps({"token": TOKEN, "refuses": False, "comments": [], "calls": []}))
        tools = self.home / "tools"
        tools.mkdir(exist_ok=True)
        gh = tools / "gh"
        gh.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).with_name("gh.py")}" "$@"\n')
        gh.chmod(0o755)

    @property
    def comments(self) -> list[dict[str, Any]]:
        return json.loads(self.state.read_text())["comments"]

    @property
    def calls(self) -> list[list[str]]:
        return json.loads(self.state.read_text())["calls"]

    def run(
        self,
        workflow: Path,
        event: str,
        payload: dict[str, Any],
        commit: str,
        *,
        settings: dict[str, str],
        replaced: dict[str, str],
    ) -> str:
        """Run a workflow's only job.

        Args:
            workflow: The file.
            event: Its name, as in ``on``.
            payload: What `github.event` holds.
            commit: What is checked out.
            settings: What a user sets in the workflow's ``env``.
            replaced: By name of a step, what is run instead.

        Returns:
            The job's conclusion: ``success``, ``failure`` or ``skipped``.
        """
        content = yaml.safe_load(workflow.read_text())
        assert event in content[True], "YAML reads the key `on` as true"
        ((_, job),) = content["jobs"].items()
        self.steps, self.commit = [], commit
        self.temp = self.home / "temp"
        shutil.rmtree(self.temp, ignore_errors=True)
        self.workspace = self.temp / "work"
        self.temp.mkdir()
        for name in ("GITHUB_STEP_SUMMARY", "GITHUB_PATH", "GITHUB_ENV", "GITHUB_OUTPUT"):
            (self.temp / name).touch()
        (self.temp / "event.json").write_text(json.dumps(payload))
        self.context = {
            "github": {
                "event": payload,
                "event_name": event,
                "repository": "someone/project",
                "run_id": "7",
                "ref": "refs/heads/main" if event == "push" else "refs/pull/1/merge",
                "workflow": content["name"],
                "token": TOKEN,
            },
            "runner": {"temp": str(self.temp)},
        }
        self.failed = False
        if not self.true(job.get("if", "true")):
            return "skipped"
        assert set(settings) <= set(content.get("env", {}))
        variables = {**content.get("env", {}), **settings}
        for step in job["steps"]:
            done = self._step(step, variables, replaced)
            self.steps.append(done)
            self.failed |= done.code != 0 and not step.get("continue-on-error", False)
        assert set(replaced) <= {step.name for step in self.steps}
        return "failure" if self.failed else "success"

    def _step(self, step: dict[str, Any], variables: dict[str, str], replaced: dict[str, str]) -> Step:
        name = step.get("name") or step["uses"]
        condition = str(step.get("if", "success()"))
        if not re.search(r"(always|cancelled|failure|success)\(\)", condition):
            condition = f"success() && ({condition})"
        if not self.true(condition):
            return Step(name, "skipped")
        if "uses" in step:
            said = USES[step["uses"].partition("@")[0]](self, step.get("with", {}))
            return Step(name, "emulated", said=said)
        own = {key: self.filled(str(value)) for key, value in {**variables, **step.get("env", {})}.items()}
        script = replaced.get(step["name"], self.filled(step["run"]))
        return self._bash(name, "replaced" if name in replaced else "ran", script, own)

    def _bash(self, name: str, how: str, script: str, variables: dict[str, str]) -> Step:
        file = self.temp / "step.sh"
        file.write_text(script)
        path = [*reversed((self.temp / "GITHUB_PATH").read_text().splitlines()), str(self.home / "tools"), SYSTEM]
        files = {
            key: str(self.temp / key) for key in ("GITHUB_STEP_SUMMARY", "GITHUB_PATH", "GITHUB_ENV", "GITHUB_OUTPUT")
        }
        environment = {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.home),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": self.context["github"]["event_name"],
            "GITHUB_EVENT_PATH": str(self.temp / "event.json"),
            "GITHUB_REPOSITORY": self.context["github"]["repository"],
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
            "GH_STATE": str(self.state),
            **files,
            **self.environment,
            **variables,
        }
        done = subprocess.run(
            ["bash", "-e", str(file)], cwd=self.workspace, env=environment, capture_output=True, text=True, timeout=300
        )
        return Step(name, how, done.returncode, done.stdout + done.stderr)

    def filled(self, text: str) -> str:
        """Put values in the place of expressions."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(self._value(found[1])), text)

    def true(self, condition: str) -> bool:
        """Evaluate an ``if``."""
        whole = re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", str(condition))
        return bool(self._value(whole[1] if whole else str(condition)))

    def _value(self, expression: str) -> Any:
        words = re.findall(r"'[^']*'|&&|\|\||==|!=|!|\(\)|[()]|[\w.]+|\S", expression)
        known = {"&&": " and ", "||": " or ", "!": " not ", "true": "True"}
        python = ""
        for word in words:
            if word in known:
                python += known[word]
            elif word.startswith("'") or word in ("==", "!=", "()", "(", ")"):
                python += word
            elif word in ("always", "cancelled", "success"):
                python += f"_{word}"
            else:
                assert re.fullmatch(r"(github|runner)(\.\w+)+", word), f"{word!r} in {expression!r} is not known here"
                python += repr(self._looked_up(word))
        names = {"_always": lambda: True, "_cancelled": lambda: False, "_success": lambda: not self.failed}
        return eval(python, {"__builtins__": {}}, names)

    def _looked_up(self, dotted: str) -> Any:
        value: Any = self.context
        for part in dotted.split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        return value


def _checkout(runner: StandIn, asked: dict[str, Any]) -> str:
    depth = [f"--depth={asked['fetch-depth']}"] if asked.get("fetch-depth", 1) else []
    git = ["git", "-c", "protocol.file.allow=always"]
    subprocess.run([*git, "init", "--quiet", str(runner.workspace)], check=True)
    fetched = [
        *git,
        "-C",
        str(runner.workspace),
        "fetch",
        "--quiet",
        *depth,
        f"file://{runner.repository}",
        runner.commit,
    ]
    subprocess.run(fetched, check=True)
    subprocess.run([*git, "-C", str(runner.workspace), "checkout", "--quiet", "--detach", "FETCH_HEAD"], check=True)
    return f"checked out {runner.commit}"


def _upload(runner: StandIn, asked: dict[str, Any]) -> str:
    target = runner.home / "artifacts" / asked["name"]
    shutil.rmtree(target, ignore_errors=True)
    for source in map(runner.workspace.joinpath, asked["path"].split()):
        if source.exists():
            shutil.copytree(source, target, dirs_exist_ok=True)
    return f"uploaded {asked['path']} as {asked['name']}"


def _cached(runner: StandIn, asked: dict[str, Any]) -> Path:
    return Path(asked["path"].replace("~", str(runner.home)))


def _restore(runner: StandIn, asked: dict[str, Any]) -> str:
    caches = sorted((runner.home / "caches").glob(asked["restore-keys"] + "*"))
    shutil.rmtree(_cached(runner, asked), ignore_errors=True)
    if caches:
        shutil.copytree(caches[-1], _cached(runner, asked))
    return f"restored {caches[-1].name}" if caches else "nothing to restore"


def _save(runner: StandIn, asked: dict[str, Any]) -> str:
    source = _cached(runner, asked)
    if source.exists():
        shutil.copytree(source, runner.home / "caches" / runner.filled(asked["key"]), dirs_exist_ok=True)
    return f"saved {source}"


USES = {
    "actions/checkout": _checkout,
    "actions/setup-python": lambda *_: "skipped: this Python is the one",
    "actions/upload-artifact": _upload,
    "actions/cache/restore": _restore,
    "actions/cache/save": _save,
}
