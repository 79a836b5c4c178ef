"""Who may ask, from which page, and what a browser may do with the answers."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from browser.app import BrowserConfig, create_app
from browser.safety import Access
from tests.browser.conftest import ADDRESS


def test_other_hosts_are_refused(client: TestClient) -> None:
    for host in ("evil.example:8765", "127.0.0.1.evil.example:8765", "evil.example", ""):
        assert client.get("/api/dataset", headers={"Host": host}).status_code == 421
    # A tunnel listens at another port.
    assert client.get("/api/dataset", headers={"Host": "localhost:9"}).status_code == 200


def test_other_origins_are_refused(client: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9"):
        assert client.get("/api/dataset", headers={"Origin": origin}).status_code == 403
    assert client.get("/api/dataset", headers={"Origin": ADDRESS}).status_code == 200


def test_writes_need_origin_and_token(client: TestClient) -> None:
    token = client.get("/api/dataset").json()["write_token"]
    for headers in ({}, {"Origin": ADDRESS}, {"X-Avatargpt": token}):
        assert client.post("/api/reviews", json={}, headers=headers).status_code == 403
    wrong = {"Origin": ADDRESS, "X-Avatargpt": "wrong"}
    assert client.post("/api/reviews", json={}, headers=wrong).status_code == 403


def test_every_answer_has_the_policy(client: TestClient) -> None:
    for path in ("/", "/static/app.js", "/api/dataset", "/nowhere", "/api/clips/none"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_no_file_beside_the_page_is_sent(client: TestClient) -> None:
    for path in (
        *("/static/../app.py", "/static/..%2Fapp.py", "/static/%2e%2e/app.py"),
        *("/three/..%2F..%2Fetc%2Fpasswd", "/static/app.py", "/static/"),
    ):
        assert client.get(path).status_code == 404
    assert client.get("/three/OrbitControls.js").text.count("from './three.module.js'") == 1


def test_other_addresses_need_a_token(annotated: Path, three: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a token"):
        Access("0.0.0.0", 8765)  # noqa: S104
    access = Access("0.0.0.0", 8765, token="secret")  # noqa: S104, S106
    assert access.link.endswith("#token=secret")
    app = create_app(BrowserConfig(annotated, tmp_path, three, access))
    base = "http://machine.example:8765"
    with TestClient(app, base_url=base) as client:
        assert client.get("/").status_code == 200
        assert client.get("/api/dataset").status_code == 401
        assert client.get("/api/video", params={"kind": "person", "id": "x"}).status_code == 401
        headers = {"Origin": base}
        wrong = client.post("/api/login", json={"token": "guess"}, headers=headers)
        assert wrong.status_code == 401
        right = client.post("/api/login", json={"token": "secret"}, headers=headers)
        assert "HttpOnly" in right.headers["set-cookie"]
        assert "samesite=strict" in right.headers["set-cookie"].lower()
        assert client.get("/api/dataset").status_code == 200
