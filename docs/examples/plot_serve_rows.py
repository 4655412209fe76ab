"""
================================
Serve a detector behind HTTP
================================

A detector is fitted and saved in one place; a server loads the file and answers rows of
numbers with scores, labels and the features that made a row unusual. The server is the
standard library's: put the same handler's two lines into the framework of your choice.
"""

import json
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

import skae

data = load_breast_cancer()
benign, malignant = data.data[data.target == 1], data.data[data.target == 0]
detector = skae.AEOutlierDetector(random_state=0).fit(benign[:200])
skae.save(detector, "detector.safetensors")

# %%
# The server's side. Fitted estimators may be used by several threads at a time. What
# the client sent wrong, such as a missing column, is in the error's message.
served = skae.load("detector.safetensors")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise header and body wait for each other.
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            rows = np.array(json.loads(body)["rows"], dtype=np.float64)
            answer = {
                "scores": served.score_samples(rows).tolist(),
                "labels": served.predict(rows).tolist(),
            }
            status = 200
        except (KeyError, TypeError, ValueError) as error:
            answer, status = {"error": str(error)}, 422
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Without a line for each request."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()

# %%
# The client's side: one row at a time, as fast as the answers come.
connection = HTTPConnection(*server.server_address)


def ask(rows):
    connection.request("POST", "/", json.dumps({"rows": rows.tolist()}))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


rows = np.concatenate([benign[200:], malignant])
milliseconds, scores = [], []
for row in rows:
    start = time.perf_counter()
    status, answer = ask(row[None])
    milliseconds.append(1e3 * (time.perf_counter() - start))
    scores += answer["scores"]
print(f"median of {len(rows)} requests: {np.median(milliseconds):.2f} ms")
print("as in this process:", np.array_equal(scores, detector.score_samples(rows)))
status, answer = ask(rows[:1, :-1])
print(status, answer["error"])
connection.close()
server.shutdown()
server.server_close()

# %%
# How long the answers took.
figure, axes = plt.subplots(layout="constrained")
axes.hist(milliseconds, bins=np.geomspace(min(milliseconds), max(milliseconds), 40))
axes.set(xscale="log", xlabel="milliseconds a request", ylabel="requests")
figure.savefig("latencies.png")
