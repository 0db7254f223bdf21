#!/usr/bin/env bash
exec "$(dirname "$0")/../run-class" org.apache.kafka.tools.VerifiableProducer "$@"
