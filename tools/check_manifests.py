#!/usr/bin/env python3
"""Checks deploy/kubernetes as far as that goes without a cluster.

  check_manifests.py LEAT     the command, whose options and generated permissions the manifests must agree with

The files are YAML, and say what docs/kubernetes.md promises of them: probes, limits, time for a drain. The worker's options are
those of `leat worker`; the users' permissions are those that `leat cluster init` writes, and a nats-server takes them (where
there is one). kubectl builds the kustomization (where there is one); its dry run needs a cluster even on the client's side.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

root = pathlib.Path(__file__).resolve().parent.parent
folder = root / "deploy" / "kubernetes"
problems = []


def check(holds, what):
    if not holds:
        problems.append(what)


def seconds(text):
    match = re.fullmatch(r"(\d+)(s|m)?", str(text))
    return int(match[1]) * (60 if match[2] == "m" else 1)


def load(name):
    with open(folder / name) as file:
        return [each for each in yaml.safe_load_all(file) if each]


def check_worker(leat):
    kinds = {each["kind"]: each for each in load("worker.yaml")}
    check({"Deployment", "PodDisruptionBudget", "NetworkPolicy"} <= kinds.keys(), f"worker.yaml has {sorted(kinds)}")
    spec = kinds["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for each in (spec["selector"], kinds["PodDisruptionBudget"]["spec"]["selector"], kinds["NetworkPolicy"]["spec"]["podSelector"]):
        check(each["matchLabels"].items() <= labels.items(), f"{each['matchLabels']} are no labels of the pods")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        check(probe in container, f"the worker has no {probe}")
    for limit in ("cpu", "memory"):
        check(limit in container["resources"]["limits"], f"the worker has no limit of {limit}")
    args = container["args"]
    check(args[:2] == ["leat", "worker"], f"the worker runs {args[:2]}")
    options = dict(zip(args[2::2], args[3::2]))
    known = subprocess.run([leat, "worker", "--help"], capture_output=True, text=True, check=True).stdout
    for each in options:
        check(re.search(re.escape(each) + r"\b", known), f"leat worker has no option {each}")
    check(
        seconds(options["--drain-timeout"]) < pod["terminationGracePeriodSeconds"],
        "the pod is killed before its drain can end",
    )
    check(options["--engine"].startswith("tls://"), "the worker connects without TLS")
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    check(mounts.keys() == volumes.keys(), f"{sorted(mounts)} are mounted of the volumes {sorted(volumes)}")
    files = re.findall(r"=(/[^&]*)", options["--engine"]) + [options["--health-file"]]
    for each in files:
        check(any(each.startswith(path + "/") for path in mounts.values()), f"{each} is in no volume")
    check(volumes["key"]["secret"]["defaultMode"] & 0o007 == 0, "others may read the key, which leat refuses")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        words = " ".join(container[probe]["exec"]["command"])
        check(options["--health-file"] in words, f"the {probe} looks elsewhere than at {options['--health-file']}")
    return kinds["Deployment"]["metadata"]["name"]


def check_scaler(deployment):
    (scaler,) = load("scaler.yaml")
    check(scaler["spec"]["scaleTargetRef"]["name"] == deployment, "the scaler scales something else")
    (trigger,) = scaler["spec"]["triggers"]
    check(trigger["type"] == "nats-jetstream", f"the trigger is a {trigger['type']}")
    wanted = {"natsServerMonitoringEndpoint", "account", "stream", "consumer", "lagThreshold"}
    check(wanted <= trigger["metadata"].keys(), f"the trigger lacks {wanted - trigger['metadata'].keys()}")
    check(all(isinstance(each, str) for each in trigger["metadata"].values()), "the trigger's values are to be texts")
    check(trigger["metadata"]["consumer"] == "workers", "the consumer of workers is called `workers`")


def generated_permissions(leat):
    """By role: the lists of `leat cluster init`, as nats.conf has them."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([leat, "cluster", "init", f"{scratch}/e"], check=True, stdout=subprocess.DEVNULL)
        text = pathlib.Path(scratch, "e/n1/nats.conf").read_text()
    found = {}
    for role, body in re.findall(r"\{ # (\w+)\n(.*?)\n      \}\n", text, re.S):
        lists = {name: re.findall(r'"([^"]*)"', items) for name, items in re.findall(r"(allow|deny|subscribe): \[(.*?)\]", body, re.S)}
        found[role] = {"publish": lists["allow"], "no_publish": lists.get("deny", []), "subscribe": lists["subscribe"]}
    return found


def check_values(leat):
    (values,) = load("nats-values.yaml")
    config = values["config"]
    check(config["cluster"]["replicas"] == 3, "three servers survive the loss of one")
    check(config["jetstream"]["merge"] == {"sync_interval": "always"}, "acknowledgements precede the disk")
    check(config["nats"]["tls"]["enabled"] and config["cluster"]["tls"]["enabled"], "there is a connection without TLS")
    accounts = config["merge"]["accounts"]
    generated = generated_permissions(leat)
    check(len(generated) == 3, f"`leat cluster init` has the roles {sorted(generated)}")
    users = accounts["LEAT"]["users"]
    for user in users:
        role = user["nkey"].removesuffix("_PUBLIC_KEY").lower()
        may = user["permissions"]
        told = {
            "publish": may["publish"]["allow"],
            "no_publish": may["publish"].get("deny", []),
            "subscribe": may["subscribe"]["allow"],
        }
        check(told == generated.get(role), f"the {role} may do something else than what `leat cluster init` allows it")
    check(len(users) == len(generated), "there is a user for each role")
    check_server_takes(accounts, len(users))


def check_server_takes(accounts, count):
    server = os.environ.get("LEAT_NATS_SERVER", str(root / "build/tools/nats-server/nats-server"))
    if not os.access(server, os.X_OK):
        return
    text = json.dumps({"accounts": accounts})
    key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"  # somebody's
    with tempfile.TemporaryDirectory() as scratch:
        for role in ("COORDINATOR", "WORKER", "OBSERVER")[:count]:
            # One after the other, since a key may be one user's alone.
            part = json.loads(text)
            part["accounts"]["LEAT"]["users"] = [
                {**each, "nkey": key} for each in part["accounts"]["LEAT"]["users"] if each["nkey"].startswith(role)
            ]
            file = pathlib.Path(scratch, "nats.conf")
            file.write_text(json.dumps(part))
            done = subprocess.run([server, "-c", str(file), "-t"], capture_output=True, text=True)
            check(done.returncode == 0, f"nats-server does not take the {role.lower()}: {done.stderr.strip()}")


def check_kustomization():
    if not shutil.which("kubectl"):
        return
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    check(done.returncode == 0, f"kubectl kustomize: {done.stderr.strip()}")
    built = [each["kind"] for each in yaml.safe_load_all(done.stdout) if each]
    check("Deployment" in built, f"the kustomization has {built}")


def main():
    leat = sys.argv[1]
    check_scaler(check_worker(leat))
    check_values(leat)
    check_kustomization()
    for each in problems:
        print(f"deploy/kubernetes: {each}")
    sys.exit(1 if problems else 0)


main()
