# Nomad: part of a client's configuration, on a host whose Docker has the runtime of daemon.json
plugin "docker" {
  config {
    allow_runtimes = ["runc", "pycontainer"]
  }
}
