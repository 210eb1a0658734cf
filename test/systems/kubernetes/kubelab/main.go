// One binary for a whole Kubernetes 1.34 cluster of one node: the first argument names the component.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controller "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// The components that are not commands of Kubernetes itself: each reads os.Args and ends the process.
var others = map[string]func(){
	"coredns":  runCoreDNS,
	"etcd":     func() { etcdmain.Main(os.Args) },
	"kwok":     runKwok,
	"policies": runPolicies,
}

var commands = map[string]func() *cobra.Command{
	"apiserver":  apiserver.NewAPIServerCommand,
	"controller": controller.NewControllerManagerCommand,
	"kubectl":    kubectl.NewDefaultKubectlCommand,
	"kubelet":    func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"proxy":      proxy.NewProxyCommand,
	"scheduler":  func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	if run, found := others[name]; found {
		run()
		return
	}
	command, found := commands[name]
	if !found {
		known := slices.Sorted(maps.Keys(commands))
		known = append(known, slices.Sorted(maps.Keys(others))...)
		die(fmt.Errorf("usage: kubelab %v [flags]", known))
	}
	os.Exit(cli.Run(command()))
}

func die(err error) {
	fmt.Fprintln(os.Stderr, "kubelab:", err)
	os.Exit(2)
}
