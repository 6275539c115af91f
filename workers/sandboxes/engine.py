"""Whether a container engine answers here (Docker, or Podman's socket of the same API).

Containers are not a sandbox of this version; `loom doctor` says what a later one would find.
"""

from __future__ import annotations

from loom.workers.seams import Probe

ANSWER_S = 2
"""How long an engine may take to say its version."""


def probe_engine() -> Probe:
    """Asks the engine that the environment names (DOCKER_HOST, else the usual socket) for its version."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=ANSWER_S)
        try:
            version = str(client.version().get("Version", ""))
        finally:
            client.close()
    except (DockerException, OSError) as error:
        return Probe(False, f"no container engine answers: {str(error).splitlines()[0]}")
    return Probe(True, "a container engine answers", version)
