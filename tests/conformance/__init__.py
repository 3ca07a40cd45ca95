"""Black-box tests of OCI runtimes, by command line alone: what runc fails as well is a wrong test, or marked `deviates`."""
