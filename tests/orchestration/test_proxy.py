"""deploy/proxy/nginx.conf before a real, read-only web server: who gets through, and what they may do."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import local_services
import pytest

from seqpricing_dagster.project import REPOSITORY, Project

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(NGINX is None, reason="no nginx on this machine (Debian: apt install nginx-light)"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine"),
]

HOST = "dagster.example"
PASSWORD = {"Authorization": "Basic " + base64.b64encode(b"anna:sesame").decode()}
OWN = {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
LAUNCH = """mutation { launchPartitionBackfill(backfillParams: {
    assetSelection: [{path: ["models", "ipca", "ipca_models"]}], partitionNames: ["2004"]
}) { __typename } }"""

Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture(scope="module")
def web_server(finished: Project, study_file: Path) -> Iterator[int]:
    """Port of the read-only web server over the finished study, as docs/security.md starts it."""
    port = local_services.free_port()
    command = [sys.executable, "-m", "dagster_webserver", "--read-only", "-h", "127.0.0.1", "-p", str(port)]
    environment = {
        "SEQPRICING_STUDY": str(study_file),
        "SEQPRICING_OUTPUTS": str(finished.folder.parent),
        "DAGSTER_HOME": str(finished.dagster_home),
    }
    log = finished.folder / "web_server.log"
    process = local_services.started([*command, "-w", str(REPOSITORY / "workspace.yaml")], log, environment)
    try:
        address = f"http://127.0.0.1:{port}/server_info"
        local_services.wait_for(lambda: local_services.answers(address), 120, "the web server answers")
        yield port
    finally:
        local_services.stop(process)


@pytest.fixture(scope="module")
def ask(web_server: int) -> Iterator[Ask]:
    """Sends a request through the proxy; gives status and body."""
    folder, port = Path(tempfile.mkdtemp(prefix="seqpricing-proxy-")), local_services.free_port()
    folder.chmod(0o755)  # nginx reads the password file as a user without rights
    (folder / "tls").mkdir()
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={HOST}"
    files = ["-keyout", str(folder / "tls/key.pem"), "-out", str(folder / "tls/certificate.pem")]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", "sesame"], check=True, capture_output=True, text=True
    )
    (folder / "users").write_text(f"anna:{hashed.stdout}")
    settings = (REPOSITORY / "deploy/proxy/nginx.conf").read_text()
    settings = settings.replace("listen 443 ", f"listen 127.0.0.1:{port} ")
    settings = settings.replace("127.0.0.1:3000", f"127.0.0.1:{web_server}")
    (folder / "nginx.conf").write_text(settings)
    assert NGINX is not None
    command = [NGINX, "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off;"]
    process = local_services.started(command, folder / "log")
    trusted = ssl.create_default_context(cafile=str(folder / "tls/certificate.pem"))
    trusted.check_hostname = False

    def send(
        path: str = "/", method: str = "GET", body: bytes | None = None, host: str = HOST, **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": host} | names)
        response = connection.getresponse()
        return response.status, response.read()

    def up() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return send()[0] == 401
        except OSError:
            return False

    try:
        local_services.wait_for(up, 30, "nginx answers")
        yield send
    finally:
        local_services.stop(process)
        shutil.rmtree(folder)


def graphql(query: str) -> dict[str, Any]:
    return {"path": "/graphql", "method": "POST", "body": json.dumps({"query": query}).encode()}


JSON = {"Content-Type": "application/json"}


def test_a_person_with_the_password_sees_the_ui(ask: Ask) -> None:
    status, page = ask(**PASSWORD)
    assert status == 200
    assert b"Dagster" in page
    status, answer = ask(**graphql("{ version }"), **PASSWORD, **OWN, **JSON)
    assert (status, json.loads(answer)) == (200, {"data": {"version": "1.13.27"}})


@pytest.mark.parametrize(
    "authorization", [{}, {"Authorization": "Basic " + base64.b64encode(b"anna:x").decode()}]
)
def test_without_the_password_nothing_is_shown(ask: Ask, authorization: dict[str, str]) -> None:
    assert ask(**authorization)[0] == 401
    assert ask(**graphql("{ version }"), **authorization, **OWN, **JSON)[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:3000", ""])
def test_another_host_is_refused_also_with_the_password(ask: Ask, host: str) -> None:
    """DNS rebinding: the browser thinks it speaks to evil.example and sends no foreign origin."""
    assert ask(host=host, **PASSWORD)[0] in {400, 421}
    assert ask(**graphql(LAUNCH), host=host, **PASSWORD, **JSON)[0] in {400, 421}


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{HOST}.evil.example"},
        {"Origin": f"http://{HOST}"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
    ],
)
def test_a_page_of_another_site_is_refused_also_with_the_password(ask: Ask, foreign: dict[str, str]) -> None:
    """CSRF: the browser adds the password by itself. A web socket names its origin as well."""
    assert ask(**graphql(LAUNCH), **PASSWORD, **foreign, **JSON)[0] == 403
    socket = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    assert ask("/graphql", **PASSWORD, **foreign, **socket)[0] == 403


def test_a_link_cannot_launch_a_backfill(ask: Ask) -> None:
    """GraphQL by GET, as a followed link or an image would send it."""
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask("/graphql?query=mutation%7B__typename%7D", **PASSWORD, **link)[0] == 405
    assert ask("/graphql?query=%7Bversion%7D", **PASSWORD)[0] == 405
    assert ask("/assets", **PASSWORD, **link)[0] == 200, "a link to a page may be followed"


def test_the_read_only_server_launches_nothing(ask: Ask) -> None:
    status, answer = ask(**graphql(LAUNCH), **PASSWORD, **OWN, **JSON)
    assert status == 200
    assert json.loads(answer)["data"]["launchPartitionBackfill"]["__typename"] == "UnauthorizedError"
