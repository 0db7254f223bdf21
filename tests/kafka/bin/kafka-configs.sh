#!/usr/bin/env bash
exec "$(dirname "$0")/../run-class" kafka.admin.ConfigCommand "$@"
