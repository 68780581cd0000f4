"""A front-end process: one event loop with the HTTP application on a port that control has bound. It must not know engines' insides.

Started by control as `python -m service.frontend SETTINGS CONTROL-SOCKET LISTENER LIFELINE`.
"""

import functools
import gc
import logging
import socket
import sys
from typing import Any, cast

import msgspec
import uvicorn
import uvloop

from service import logs
from service.api.entrance import open_as_many_as_allowed
from service.api.hot import HotProtocol
from service.api.telemetry import Accompanied
from service.app import create_app
from service.engine.lifeline import Lifeline, Said
from service.settings import Settings, to_path


class Loop(uvloop.Loop):
    """An event loop on which a TLS handshake takes as long as the head of a request may; its own default is a minute, which uvicorn leaves."""

    def __init__(self, handshake_seconds: float) -> None:
        self._handshake_seconds = handshake_seconds

    async def create_server(self, *arguments: Any, **named: Any) -> Any:
        if named.get("ssl") is not None:
            named["ssl_handshake_timeout"] = self._handshake_seconds
        return await super().create_server(*arguments, **named)


class Server(uvicorn.Server):
    """uvicorn, which tells control when it answers and stops when control has gone."""

    def __init__(self, config: uvicorn.Config, lifeline: Lifeline) -> None:
        super().__init__(config)
        self._lifeline = lifeline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn has logged the traceback
            self._lifeline.say(Said(reason="its application does not start; the log says why"))
            raise
        # What start-up left behind stays; looking through it again and again would take 7 % of the time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._lifeline.say(Said("ready"))
        self._lifeline.attend(self._control_gone)

    def _control_gone(self) -> None:
        self.should_exit = True


def main() -> None:
    """Serve until SIGTERM; requests that were accepted are answered first."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings, dec_hook=to_path)
    control, listener, lifeline = sys.argv[2], int(sys.argv[3]), Lifeline(int(sys.argv[4]))
    logs.configure(settings.log_level)
    # Control says what starts and ends, and what clients send that is no HTTP is counted: it must not fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    open_as_many_as_allowed()
    app, route, entrance = create_app(settings, control)
    config = uvicorn.Config(
        cast(Any, Accompanied(app, route.telemetry)),
        http=cast(Any, functools.partial(HotProtocol, route, entrance.connections)),
        ws="none",
        timeout_keep_alive=settings.limits.idle_timeout_s,
        proxy_headers=False,
        loop="none",  # the runner below chooses
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_context_factory=None
        if (own := entrance.certificate) is None
        else lambda *_: own.context,
        timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s) - 1),
    )
    server = Server(config, lifeline)
    loop = functools.partial(Loop, settings.limits.header_timeout_s)
    uvloop.run(server.serve(sockets=[socket.socket(fileno=listener)]), loop_factory=loop)


if __name__ == "__main__":
    main()
