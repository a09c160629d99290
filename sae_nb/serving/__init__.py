"""The toolkit as tools of an agent: `sae-nb mcp` speaks the Model Context Protocol over stdin and stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.serving._bench import (
        AgentBench as AgentBench,
        bench_agent as bench_agent,
        bench_task as bench_task,
    )
    from sae_nb.serving._bench_agents import NoAnswerError as NoAnswerError, Session as Session
    from sae_nb.serving._bench_tasks import TASK_NAMES as TASK_NAMES, TaskName as TaskName
    from sae_nb.serving._registry import Registry as Registry
    from sae_nb.serving._server import bench_server as bench_server, server as server
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
