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
from service.api.hot import HotProtocol
from service.app import create_app
from service.engine.lifeline import Lifeline, Said
from service.settings import Settings, to_path


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
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # control says what starts and ends
    app, route = create_app(settings, control)
    config = uvicorn.Config(
        app,
        http=cast(Any, functools.partial(HotProtocol, route)),
        proxy_headers=False,
        loop="none",  # the runner below chooses
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s) - 1),
    )
    server = Server(config, lifeline)
    uvloop.run(server.serve(sockets=[socket.socket(fileno=listener)]))


if __name__ == "__main__":
    main()
