#!/usr/bin/env bash
# Orthanc 1.10.1 (Debian 12): a store job with "Permissive": true, to a node that nobody runs, sends nothing and ends as
# a success, with FailedInstancesCount 0. Guess before running: a success whose FailedInstancesCount is the number of
# instances, which is what a script would look at. Without Permissive the same job is a failure. So a routing script
# that goes by the job loses studies without a word.
# Seen on 2026-11-30: "permissive: FailedInstancesCount:0 InstancesCount:1 State:Success", "else: … State:Failure".
# Needs Orthanc and curl (Debian: orthanc, curl).
set -euo pipefail
folder=$(mktemp -d)
http=18042
url=http://127.0.0.1:$http
cat > "$folder/orthanc.json" <<JSON
{"HttpPort": $http, "DicomPort": 18043, "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": [],
 "StorageDirectory": "$folder/db", "IndexDirectory": "$folder/db",
 "DicomModalities": {"nobody": ["NOBODY", "127.0.0.1", 18044]}}
JSON
PATH=$PATH:/usr/sbin Orthanc "$folder/orthanc.json" 2> "$folder/log" &
orthanc=$!
trap 'kill $orthanc; wait $orthanc || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
    curl --silent --output "$folder/system" "$url/system" && break
    sleep 0.1
done
instance=$(curl --silent "$url/tools/create-dicom" -d '{"Tags": {"PatientID": "1", "Modality": "OT"}}' |
    grep -o '"ID" : "[^"]*"' | cut -d'"' -f4)
job() {
    local id
    id=$(curl --silent "$url/modalities/nobody/store" \
        -d "{\"Resources\": [\"$instance\"], \"Permissive\": $1, \"Synchronous\": false}" |
        grep -o '"ID" : "[^"]*"' | cut -d'"' -f4)
    for _ in $(seq 100); do
        curl --silent --output "$folder/job" "$url/jobs/$id"
        grep -qE '"State" : "(Success|Failure)"' "$folder/job" && break
        sleep 0.1
    done
    grep -oE '"(State|FailedInstancesCount|InstancesCount)" : "?[A-Za-z0-9]+' "$folder/job" | tr -d '" ' | sort | tr '\n' ' '
}
permissive=$(job true)
strict=$(job false)
echo "permissive: $permissive"
echo "else: $strict"
[[ $permissive == "FailedInstancesCount:0 InstancesCount:1 State:Success " && $strict == *State:Failure* ]] ||
    { echo "the behaviour has changed"; exit 1; }
