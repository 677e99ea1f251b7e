"""The gallery: what it lists, in what order, to whom; in Chromium, and at its bounds."""

import http.client
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="jinja2 is not installed")

from chainrule import Network
from chainrule.command.cli import main
from chainrule.errors import InputError, OutputFileError
from chainrule.explain import explain
from chainrule.network import load_model
from chainrule.pages.gallery import A_PAGE, Gallery, server

NASTY = "<img src=x onerror=alert(1)>"


def made(n=60, inputs=64, seed=0, names=None):
    random = np.random.default_rng(seed)
    net = Network.create([inputs, 5, 3], activation="tanh", seed=1, dtype="float64")
    x, labels = random.normal(size=(n, inputs)), random.integers(0, 3, n)
    names = names or [f"x{i}" for i in range(inputs)]
    return net, x, labels, Gallery(net, x, labels, names, [NASTY, "b", "c"])


@contextmanager
def served(gallery):
    with server(gallery, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()
            thread.join()


def asked(port, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def rows(page):
    return [int(row) for row in re.findall(r'href="/row/(\d+)"', page)]


def expected_order(net, x, labels, kept):
    p = net.predict_proba(x)
    losses = -np.log(p[np.arange(len(labels)), labels])
    return [int(i) for i in np.argsort(-losses) if kept(i, p[i].argmax())]


def test_the_largest_losses_first_page_by_page():
    net, x, labels, gallery = made()
    expected = expected_order(net, x, labels, lambda i, predicted: True)
    found = [row for page in "123" for row in rows(gallery.listing({"page": page}))]
    assert found == expected
    assert len(rows(gallery.listing({}))) == A_PAGE


def test_losses_of_many_rows_come_in_batches():
    net, x, labels, gallery = made(5000, inputs=6)
    expected = expected_order(net, x, labels, lambda i, predicted: True)
    assert rows(gallery.listing({"page": "1"})) == expected[:A_PAGE]
    assert rows(gallery.listing({"page": "209"})) == expected[208 * A_PAGE :]


def test_filters_by_class_and_by_right_and_wrong():
    net, x, labels, gallery = made()
    for label in range(3):
        for which in ("all", "right", "wrong"):
            wanted = expected_order(
                net, x, labels,
                lambda i, predicted, label=label, which=which: (
                    labels[i] == label and (which == "all" or (predicted == labels[i]) == (which == "right"))
                ),
            )  # fmt: skip
            assert rows(gallery.listing({"class": str(label), "which": which})) == wanted[:A_PAGE]


@pytest.mark.parametrize(
    ("query", "message"),
    [({"class": "3"}, "class: got '3', expected a number from 0 to 2"), ({"class": "-1"}, "class"),
     ({"which": "none"}, "which: got 'none', expected all, wrong, right"), ({"page": "0"}, "page"),
     ({"page": "4"}, "page: got '4', expected a number from 1 to 3"), ({"page": "²"}, "page")],
)  # fmt: skip
def test_a_query_that_there_is_not(query, message):
    with pytest.raises(InputError, match=message):
        made()[3].listing(query)


def test_a_row_is_explained_when_it_is_asked_for():
    net, x, labels, gallery = made()
    chain = (e := explain(net, x[7], int(labels[7]))).weight(*e.opening_weight())
    with served(gallery) as port:
        status, page, headers = asked(port, "/row/7")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'data-value="{chain.from_backward}"' in page


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/?which=wrong", 200), ("/row/60", 404), ("/row/-1", 404), ("/row/1e3", 404),
     ("/row/" + "9" * 18, 404), ("/row/" + "9" * 40, 404), ("/../../etc/passwd", 404), ("/%2e%2e/etc/passwd", 404),
     ("/row/1/", 404),
     ("/?page=9", 400), ("/?" + "a=1&" * 50, 400), ("/favicon.ico", 204)],
)  # fmt: skip
def test_what_is_answered(path, status):
    with served(made()[3]) as port:
        assert asked(port, path)[0] == status
        assert asked(port, path, "HEAD")[:2] == (status, "")


def test_it_answers_to_its_own_address_alone_and_only_reads():
    with served(made()[3]) as port:
        assert asked(port, "/", host=f"localhost:{port}")[0] == 200
        for host in (f"example.org:{port}", "127.0.0.1", f"127.0.0.1.example.org:{port}"):
            assert asked(port, "/", host=host)[0] == 403
        assert asked(port, "/", "POST")[0] == 501
        with pytest.raises(OutputFileError, match=f"--port: {port} cannot be served at"):
            server(made()[3], port)


def test_a_browser_that_leaves_is_no_error(capsys):
    with served(made()[3]) as port:
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
            leaving.send(f"GET /row/3 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert asked(port, "/row/3")[0] == 200
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and "process_request_thread" in thread.name:
            thread.join(30)
    assert capsys.readouterr().err == ""


def test_on_the_port_that_browsers_leave_out():
    said = []
    with server(made()[3], 0) as serving:
        for port in (80, 8000):
            request = SimpleNamespace(
                server=SimpleNamespace(server_port=port), headers={"Host": "localhost"}, path="/none",
                _answer=lambda code, text: said.append(code),
            )  # fmt: skip
            serving.RequestHandlerClass.do_GET(request)
    assert said == [404, 403]


@pytest.mark.skipif(sys.platform == "win32", reason="another process cannot be sent a Ctrl-C there")
def test_ctrl_c_ends_it(tmp_path):
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    table.write_text("a,b,class\n" + "1,2,x\n2,1,y\n3,5,x\n4,2,y\n" * 5)
    assert main(["train", str(table), "--target", "class", "--epochs", "1", "-o", str(model)]) == 0
    code = (
        "import sys; from signal import *; from chainrule.command.cli import main; signal(SIGINT, default_int_handler)"
    )
    command = [sys.executable, "-c", code + "; sys.exit(main())", "explain", model, table, "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", serving.stdout.readline())[1])
        assert asked(port, "/row/0")[0] == 200
        serving.send_signal(signal.SIGINT)
        _, said = serving.communicate(timeout=30)
    assert (serving.returncode, said) == (0, "")


def test_rows_without_a_class_are_skipped_and_said(tmp_path, capsys):
    """The others keep the numbers that they have in the table; so they do in training, which a Parquet file streams."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    from chainrule.command.jobs import explanation, gallery

    none = [3, 4, 11, 29]
    columns = {"a": [i * 7 % 11 + 20.0 * (i in none) for i in range(30)], "b": [i * 5 % 13 for i in range(30)]}
    labels = [None if i in none else "xy"[i % 2] for i in range(30)]
    columns["a"][4] = float("inf")  # of no row that is read
    table, few, model = tmp_path / "t.parquet", tmp_path / "few.parquet", tmp_path / "m.safetensors"
    polars.DataFrame(columns | {"class": labels}).write_parquet(table)
    polars.read_parquet(table).filter(polars.col("class").is_not_null()).write_parquet(few)
    command = ["--target", "class", "--epochs", "1", "--validation", "0", "--memory", "512"]
    assert main(["train", str(few), *command, "-o", str(tmp_path / "few.safetensors")]) == 0
    capsys.readouterr()
    assert main(["train", str(table), *command, "-o", str(model)]) == 0
    assert "4 rows without a class are left out, first row 3" in capsys.readouterr().err
    found, expected = (load_model(path) for path in (model, tmp_path / "few.safetensors"))
    assert found.schema == expected.schema
    assert found.network.weights[0].tobytes() == expected.network.weights[0].tobytes()
    said = []
    shown = gallery(model, table, say=said.append)
    assert said == ["column 'class': 4 rows without a class are left out, first row 3"]
    listed = rows(shown.listing({"page": "1"})) + rows(shown.listing({"page": "2"}))
    assert sorted(listed) == [i for i in range(30) if i not in none]
    losses = {row: explanation(model, table, row).loss for row in listed}
    assert listed == sorted(listed, key=lambda row: -losses[row])
    for row in (0, 5, 28):
        e = explanation(model, table, row)
        assert f'data-value="{e.weight(*e.opening_weight()).from_backward}"' in shown.explanation(row)
    for row in (*none, 30):
        with pytest.raises(InputError, match=f"row: got {row}, expected 0 to 28, one that has a class"):
            shown.explanation(row)
    columns["a"][5] = float("inf")
    polars.DataFrame(columns | {"class": labels}).write_parquet(table)
    assert main(["train", str(table), *command, "-o", str(model)]) == 1
    assert "column 'a', row 5: is infinite" in capsys.readouterr().err


def test_the_command_line_refuses_what_does_not_go_together(capsys):
    for more in (["--row", "1"], [], ["--port", "70000"]):
        command = ["explain", "m", "t.csv", *more]
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--serve"] if more else command)
        assert stopped.value.code == 2
    for option, value in (("--weight", "1,1,1"), ("--unit", "1,1"), ("--format", "text"), ("--output", "page.html")):
        assert main(["explain", "m", "t.csv", "--serve", option, value]) == 1
        assert f"{option} and --serve: got both, expected one" in capsys.readouterr().err
    assert main(["explain", "m", "t.csv", "--row", "0", "--port", "8000"]) == 1
    assert "--port and --row: got both; --port goes with --serve" in capsys.readouterr().err


def test_it_is_valid_html(faults, tmp_path):
    (tmp_path / "gallery.html").write_text(made()[3].listing({"which": "wrong", "page": "1"}), encoding="utf-8")
    assert faults([tmp_path / "gallery.html"]) == []


def test_in_chromium(browser):
    net, x, labels, gallery = made(names=[NASTY] * 64)
    first = expected_order(net, x, labels, lambda i, predicted: predicted != labels[i] and labels[i] == 0)[0]
    with served(gallery) as port:
        for width in (1440, 390):
            context = browser.new_context(viewport={"width": width, "height": 900})
            tab, said, asked_for = context.new_page(), [], []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("dialog", lambda dialog, said=said: (said.append(dialog.message), dialog.dismiss()))
            tab.on("request", lambda request, asked_for=asked_for: asked_for.append(request.url))
            tab.goto(f"http://127.0.0.1:{port}/")
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert tab.locator(".gallery svg.image").count() == A_PAGE
            tab.select_option("select[name=class]", label=NASTY)
            tab.select_option("select[name=which]", "wrong")
            tab.get_by_role("button", name="Show").click()
            assert NASTY in tab.locator(".gallery").inner_text()
            tab.locator(".gallery a").first.focus()
            tab.keyboard.press("Enter")
            tab.wait_for_selector("#app[data-live]")
            assert tab.url.endswith(f"/row/{first}")
            # the row before and after it by their loss, and the way back; a link names its row
            order = expected_order(net, x, labels, lambda i, predicted: True)
            at = order.index(first)
            for name, place in (("smaller", at + 1), ("larger", at)):
                tab.get_by_role("link", name=f"The row with the next {name} loss").click()
                tab.wait_for_url(f"**/row/{order[place]}")
                tab.wait_for_selector("#app[data-live]")
            tab.fill("#goto", "1,2,3")
            tab.press("#goto", "Enter")
            link = tab.locator("#link").input_value()
            assert link == f"http://127.0.0.1:{port}/row/{first}#row={first}&w=1,2,3"
            tab.goto(link.replace(f"/row/{first}#", f"/row/{order[at + 1]}#"))
            tab.wait_for_url(f"**/row/{first}#*")
            tab.wait_for_selector("#app[data-live]")
            assert tab.locator("h1").inner_text().startswith("Why W₁₂₃")
            tab.get_by_role("link", name="All rows").click()
            tab.wait_for_selector(".gallery")
            assert said == []
            assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in asked_for)
            context.close()
