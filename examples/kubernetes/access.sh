#!/bin/sh
# Prints a kubeconfig of the service account in cluster.yaml, for the cluster that kubectl speaks to. Its token is good for a day.
set -eu
look() { kubectl config view --raw --flatten --minify --output "jsonpath={.clusters[0].cluster.$1}"; }
server=$(look server)
authority=$(look certificate-authority-data)
token=$(kubectl --namespace muster create token muster --duration 24h)
cat <<END
apiVersion: v1
kind: Config
clusters: [{ name: cluster, cluster: { server: "$server", certificate-authority-data: "$authority" } }]
users: [{ name: muster, user: { token: "$token" } }]
contexts: [{ name: muster, context: { cluster: cluster, user: muster, namespace: muster } }]
current-context: muster
END
