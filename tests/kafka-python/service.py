"""The module `test.service` that kafka-python's integration tests import and its source archive does not carry.

It starts brokers as child processes or stands for one that runs already; here every broker runs already.
"""


class ExternalService:
    """A broker that somebody else started and will stop."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def open(self):
        pass

    def close(self):
        pass

    def stop(self):
        pass


class SpawnedService:
    """A broker that the tests would start: none of those that run here does."""

    def __init__(self, *_arguments, **_settings):
        raise RuntimeError("these tests run against a broker that is there already: set KAFKA_URI")
