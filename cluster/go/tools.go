//go:build tools

// The commands that are built as they are, so that one go.mod pins them and shared packages compile once.
package tools

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
	_ "github.com/coredns/coredns"
	_ "github.com/versity/versitygw/cmd/versitygw"
	_ "helm.sh/helm/v3/cmd/helm"
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
