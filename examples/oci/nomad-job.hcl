# nomad job run nomad-job.hcl
job "web" {
  datacenters = ["dc1"]
  type        = "service"

  group "web" {
    count = 1

    network {
      port "http" {
        to = 80
      }
    }

    task "web" {
      driver = "docker"

      config {
        image   = "busybox:1.36"
        runtime = "pycontainer"
        command = "httpd"
        args    = ["-f", "-p", "80", "-h", "/www"]
        ports   = ["http"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
