// provisioner gives each PersistentVolumeClaim a folder of the machine's own file system.
//
// All nodes of the local cluster are on one machine, so the folder can be mounted by any number of them at once
// (ReadWriteMany), as a network file system would be on a real cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const name = "cluster.leyden.dev/shared"

type shared struct{ root string }

// Provision makes the folder. It is open to every user, because a hostPath volume knows no fsGroup.
func (s shared) Provision(_ context.Context, options controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(s.root, options.PVC.Namespace+"-"+options.PVC.Name+"-"+options.PVName)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningNoChange, err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningNoChange, err
	}
	kind := core.HostPathDirectory
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: options.PVName},
		Spec: core.PersistentVolumeSpec{
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: options.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			PersistentVolumeSource:        core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: path, Type: &kind}},
		},
	}
	return volume, controller.ProvisioningFinished, nil
}

// Delete removes the folder of a released volume, and refuses any folder that is not directly under the root.
func (s shared) Delete(_ context.Context, volume *core.PersistentVolume) error {
	path := filepath.Clean(volume.Spec.HostPath.Path)
	if filepath.Dir(path) != filepath.Clean(s.root) {
		return fmt.Errorf("%s is not directly under %s", path, s.root)
	}
	return os.RemoveAll(path)
}

func main() {
	root := flag.String("root", "", "folder that holds the volumes")
	kubeconfig := flag.String("kubeconfig", "", "path of a kubeconfig; empty: the pod's service account")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	controller.NewProvisionController(ctx, client, name, shared{*root}, controller.LeaderElection(false)).Run(ctx)
}
