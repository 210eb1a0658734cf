package main

import (
	"flag"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// kube-router's engine of network policies, without its routing, its proxy and what those need (BGP, clouds, Docker).
func runPolicies() {
	kubeconfig := flag.String("kubeconfig", "", "who it is")
	node := flag.String("node", "", "the name of this node")
	services := flag.String("services", "", "the addresses of services, as a CIDR")
	port := flag.Uint("health-port", 20244, "where /healthz is answered")
	flag.Parse()

	config := options.NewKubeRouterConfig()
	config.RunFirewall = true
	config.EnableIPv4 = true
	config.HostnameOverride = *node
	config.ClusterIPCIDRs = []string{*services}
	config.HealthPort = uint16(*port)
	// Rules that somebody took away are back soon; what the cluster says is acted upon at once.
	config.IPTablesSyncPeriod = 10 * time.Second
	if err := policies(*kubeconfig, config); err != nil {
		die(err)
	}
}

func policies(kubeconfig string, config *options.KubeRouterConfig) error {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	health, err := healthcheck.NewHealthController(config)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	beats := make(chan *healthcheck.ControllerHeartbeat, 10)
	var done sync.WaitGroup
	done.Add(1)
	go health.RunServer(stop, &done)

	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	health.SetAlive()
	done.Add(1)
	go health.RunCheck(beats, stop, &done)

	iptables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	engine, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &sync.Mutex{}, iptables, sets)
	if err != nil {
		return err
	}
	if _, err = pods.AddEventHandler(engine.PodEventHandler); err != nil {
		return err
	}
	if _, err = namespaces.AddEventHandler(engine.NamespaceEventHandler); err != nil {
		return err
	}
	if _, err = policies.AddEventHandler(engine.NetworkPolicyEventHandler); err != nil {
		return err
	}
	done.Add(1)
	go engine.Run(beats, stop, &done)

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
	close(stop)
	done.Wait()
	return nil
}
