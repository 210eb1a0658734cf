// What runs in the pods of tests, and holds a pod together as its first process. Go's own library is all it needs.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"
)

func die(code int, a ...any) { fmt.Fprintln(os.Stderr, a...); os.Exit(code) }

func main() {
	if len(os.Args) < 2 {
		die(2, "usage: probe serve ADDR | get URL [N] | lookup NAME | tcp ADDR | api PATH | eat MB | trap | pause")
	}
	a := append(os.Args[2:], "", "")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch os.Args[1] {
	case "serve":
		h, _ := os.Hostname()
		die(1, http.ListenAndServe(a[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, h, r.RemoteAddr) })))
	case "get":
		n := 1
		fmt.Sscan(a[1], &n)
		count := map[string]int{}
		for i := 0; i < n; i++ {
			c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := c.Get(a[0])
			if err != nil {
				die(1, err)
			}
			b, _ := io.ReadAll(r.Body)
			count[strings.Fields(string(b) + " -")[0]]++
		}
		fmt.Println(count)
	case "lookup":
		t := time.Now()
		ips, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, a[0])
		sort.Strings(ips)
		if err != nil {
			die(1, err)
		}
		fmt.Println(ips, time.Since(t).Round(time.Microsecond))
	case "tcp":
		c, err := net.DialTimeout("tcp", a[0], 2*time.Second)
		if err != nil {
			die(1, err)
		}
		c.Close()
		fmt.Println("open")
	case "api": // call the API server with the pod's own token, CA checked
		d := "/var/run/secrets/kubernetes.io/serviceaccount/"
		tok, err := os.ReadFile(d + "token")
		if err != nil {
			die(1, err)
		}
		ca, _ := os.ReadFile(d + "ca.crt")
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		q, _ := http.NewRequestWithContext(ctx, "GET", "https://"+net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))+a[0], nil)
		q.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(tok)))
		r, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}).Do(q)
		if err != nil {
			die(1, err)
		}
		b, _ := io.ReadAll(r.Body)
		if len(b) > 400 {
			b = b[:400]
		}
		fmt.Println(r.StatusCode, string(b))
	case "eat":
		n := 0
		fmt.Sscan(a[0], &n)
		b := make([]byte, n<<20)
		for i := range b {
			b[i] = 1
		}
		fmt.Println("ate", len(b)>>20)
	case "pause": // the first process of a pod or a cluster: it ends when told, and reaps whom nobody else does
		ch := make(chan os.Signal, 8)
		signal.Notify(ch, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
		for s := range ch {
			if s != syscall.SIGCHLD {
				os.Exit(0)
			}
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	case "trap":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		fmt.Println("got", <-ch)
	default:
		die(2, "unknown", os.Args[1])
	}
}
