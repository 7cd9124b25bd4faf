#!/usr/bin/env bash
# What clusters/gcp-gpu.yaml needs in a Google Cloud project: a bucket for sweeps, a network that lets in SSH
# from your address alone, and two service accounts that can do no more than they must. Safe to run again, also
# to change the address. Needs gcloud, logged in as someone who may make roles.
#
#   clusters/gcp-account.sh PROJECT REGION BUCKET ADDRESS
#   clusters/gcp-account.sh my-project us-central1 my-sweeps 203.0.113.7/32
#
# Costs: what lies in the bucket, and requests to it; the rest is free.
#
# Remove it: clusters/gcp-account.sh --remove PROJECT REGION
# The bucket stays, because results are in it: gcloud storage rm --recursive gs://my-sweeps
# So do the roles ablateLaunch and ablateWorkers, which nobody has then: Google would keep the names of deleted
# ones for weeks, and they could not be made again.
set -euo pipefail

fail() { printf 'gcp-account: %s\n' "$*" >&2; exit 1; }
g() { gcloud --quiet --project "$project" "$@"; }
there() { g "$@" >/dev/null 2>&1; }
account() { printf '%s@%s.iam.gserviceaccount.com' "$1" "$project"; }

remove=false
if [ "${1:-}" = --remove ]; then remove=true; shift; fi
if $remove; then needed=2; else needed=4; fi
[ $# -eq $needed ] || fail "give PROJECT REGION BUCKET ADDRESS, or --remove PROJECT REGION"
project="$1" region="$2"

if $remove; then
  there projects describe "$project" || fail "project $project cannot be seen; is gcloud logged in?"
  for rule in ablate-ssh ablate-among; do
    ! there compute firewall-rules describe "$rule" || g compute firewall-rules delete "$rule"
  done
  ! there compute networks subnets describe ablate --region "$region" ||
    g compute networks subnets delete ablate --region "$region"
  ! there compute networks describe ablate || g compute networks delete ablate
  for name in ablate-head ablate-worker ray-autoscaler-sa-v1; do
    ! there iam service-accounts describe "$(account "$name")" ||
      g iam service-accounts delete "$(account "$name")"
  done
  exit 0
fi

bucket="$3" address="$4"
[[ $address =~ ^[0-9.]+/(2[4-9]|3[0-2])$ ]] ||
  fail "ADDRESS is '$address'; give an IPv4 network of at most 256 addresses, such as 203.0.113.7/32"

g services enable compute.googleapis.com iam.googleapis.com cloudresourcemanager.googleapis.com

there compute networks describe ablate || g compute networks create ablate --subnet-mode custom
there compute networks subnets describe ablate --region "$region" ||
  g compute networks subnets create ablate --network ablate --region "$region" --range 10.77.0.0/20 \
    --enable-private-ip-google-access
there compute firewall-rules describe ablate-ssh ||
  g compute firewall-rules create ablate-ssh --network ablate --target-tags ablate --allow tcp:22 \
    --source-ranges "$address"
g compute firewall-rules update ablate-ssh --source-ranges "$address"
there compute firewall-rules describe ablate-among ||
  g compute firewall-rules create ablate-among --network ablate --target-tags ablate --source-tags ablate \
    --allow tcp,udp,icmp

# `ray up` insists on an account of its own with far-reaching roles, though our machines carry others. It finds
# this one, which nobody can use.
for name in ablate-head ablate-worker ray-autoscaler-sa-v1; do
  there iam service-accounts describe "$(account "$name")" || g iam service-accounts create "$name"
done
g iam service-accounts disable "$(account ray-autoscaler-sa-v1)"

# A worker can use the bucket, and nothing else.
there storage buckets describe "gs://$bucket" ||
  g storage buckets create "gs://$bucket" --location "$region" --uniform-bucket-level-access \
    --public-access-prevention
for name in ablate-head ablate-worker; do
  g storage buckets add-iam-policy-binding "gs://$bucket" --role roles/storage.objectUser \
    --member "serviceAccount:$(account "$name")"
done

# The head can also launch workers, as workers and no more, and change and delete what is named as they are.
role() {
  if there iam roles describe "$1"; then
    g iam roles update "$1" --permissions "$2"
  else
    g iam roles create "$1" --permissions "$2"
  fi
}
role ablateLaunch compute.disks.create,compute.disks.setLabels,compute.instances.get,compute.instances.list,\
compute.subnetworks.use,compute.subnetworks.useExternalIp,compute.zoneOperations.get
role ablateWorkers compute.instances.create,compute.instances.delete,compute.instances.setLabels,\
compute.instances.setMetadata,compute.instances.setServiceAccount,compute.instances.setTags
g projects add-iam-policy-binding "$project" --member "serviceAccount:$(account ablate-head)" \
  --role "projects/$project/roles/ablateLaunch" --condition None
named='resource.name.extract("/instances/{name}").startsWith("ray-ablate-")'
g projects add-iam-policy-binding "$project" --member "serviceAccount:$(account ablate-head)" \
  --role "projects/$project/roles/ablateWorkers" --condition "title=nodes-of-ablate,expression=$named"
g iam service-accounts add-iam-policy-binding "$(account ablate-worker)" \
  --member "serviceAccount:$(account ablate-head)" --role roles/iam.serviceAccountUser
echo "gcp-account: done; the sweeps' storage is gs://$bucket"
