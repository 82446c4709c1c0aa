"""The service as the containers have it: each function a process of its own, nginx in front."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import get_args

from localstack.openapi import write_docs
from localstack.routes import Function
from tests.router import running_nginx
from tests.servers import free_ports
from tests.service.harness import START_S, Service, kill_group


@dataclass
class RoutedService(Service):
    """A `Service` whose gateway is the router of ``localstack/router``."""

    functions: list[subprocess.Popen[bytes]] = field(default_factory=list)
    router: ExitStack = field(default_factory=ExitStack)

    def start_gateway(self) -> None:
        names = get_args(Function)
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        for name, port in ports.items():
            command = ["gunicorn", "-c", "functions/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
            self.functions.append(self._start(name, [*command, f"functions.{name}.app:create_app()"]))
        # what stands for "the gateway is alive": the function that is last to be ready
        self.gateway = self.functions[-1]
        folder = self.folder / "router"
        folder.mkdir(exist_ok=True)
        write_docs(folder)
        limit = str(self.settings.max_upload_mb)
        router = running_nginx(
            folder, ports, port=self.port, CT_MAX_UPLOAD_MB=limit, CT_ROUTER_DOCS=str(folder)
        )
        self.router.enter_context(router)
        probes = ("/api/patients?limit=1", "/api/limits", "/readyz", "/api/reports.csv")
        self.wait(lambda: all(self._answers(path) for path in probes), START_S)

    def stop(self) -> None:
        for process in self.functions:
            process.terminate()
        super().stop()
        for process in self.functions:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            kill_group(process)
        self.functions.clear()
        self.router.close()
