"""`scanner serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say

if TYPE_CHECKING:
    from scanner.serve.guard import Served

LOOPBACK = "127.0.0.1"


@click.command("serve")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--host", default=LOOPBACK, show_default=True, metavar="NAME", help="Address to listen on.  Any other than this "
              "machine's own needs --tls-cert and --tls-key.")  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8642, show_default=True, metavar="N", help="0: any free one."
)
@click.option(
    "--name", multiple=True, metavar="NAME", help="A further host name under which visitors come.  More than once."
)
@click.option("--tls-cert", metavar="FILE", help="Certificate (PEM).")
@click.option("--tls-key", metavar="FILE", help="Its private key (PEM), readable by you alone.")
@click.option("--token-file", metavar="FILE", help="File with the token that visitors need, readable by you alone.  [default: "
              "$SCANNER_SERVE_TOKEN, else a new one at every start]")  # fmt: skip
@click.option("--no-token", is_flag=True, help="Ask for no token: everybody on this machine may then look.")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@talk_options
def command(runs: tuple[str, ...], **given: Any) -> int:
    """Look at RUNS (run folders, or folders of them) in a browser.

    Prints the address and answers until it is interrupted.  Reads only; what it writes are acknowledgements.

    \b
    scanner serve run/ --open
    scanner serve nightly/ --host 0.0.0.0 --name audit.example.org --tls-cert cert.pem --tls-key key.pem
    """
    from scanner.serve.address import address_of, listen
    from scanner.serve.app import make_app
    from scanner.serve.server import serve
    from scanner.serve.shelf import Shelf

    quiet = quiet_value(given)
    address = address_of(
        host=given["host"], port=given["port"], names=given["name"], certificate=given["tls_cert"], key=given["tls_key"],
        token_file=given["token_file"], with_token=not given["no_token"],
    )  # fmt: skip
    shelf = Shelf(runs)
    app = make_app(shelf, address, log=lambda served: say(_line(served), quiet=quiet))
    listener = listen(address)
    url = address.url(listener.getsockname()[1])

    def ready() -> None:
        say(f"serving at {url}\nstop with Ctrl-C", quiet=quiet)
        answer({"url": url, "runs": len(shelf.ids())})
        if given["open_it"]:
            click.launch(address.url(listener.getsockname()[1], invitation=app.invite()))

    serve(app, address, listener, ready=ready)
    say("stopped.", quiet=quiet)
    return 0


def _line(served: Served) -> str:
    return f"{served.method} {served.path} {served.status} {1000 * served.seconds:.0f} ms"
