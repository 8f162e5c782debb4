//! A registry in a few lines of shell, on the node's own network: one image is not there, one is
//! locked, one is for another processor. So the engine's own words about these are heard.

/// Where it listens; the engine takes a registry at this address without TLS.
pub const REGISTRY: &str = "127.0.0.1:5999";

/// One connection. The engine tries TLS first and goes on without it once it is answered in
/// plain words, as by any server of plain HTTP.
const ANSWER: &str = r#"
read -t 1 -r verb path rest
case "$verb" in
  GET|HEAD) ;;
  *) timeout 1 cat > /dev/null; printf 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'; exit ;;
esac
while read -t 2 -r line; do
  [ -n "$(echo "$line" | tr -d '\r')" ] || break
done
answer() {
  printf 'HTTP/1.1 %s\r\nDocker-Distribution-Api-Version: registry/2.0\r\n' "$1"
  printf 'Content-Type: %s\r\nContent-Length: %s\r\n' "$2" "${#3}"
  printf 'WWW-Authenticate: Basic realm="here"\r\nConnection: close\r\n\r\n'
  [ "$verb" = HEAD ] || printf %s "$3"
}
json=application/json
list=application/vnd.docker.distribution.manifest.list.v2+json
image=application/vnd.docker.distribution.manifest.v2+json
digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
other='{"mediaType":"'$image'","size":2,"digest":"'$digest'","platform":{"architecture":"s390x","os":"linux"}}'
case "$path" in
  /v2/) answer '200 OK' $json '{}' ;;
  */locked/*) answer '401 Unauthorized' $json '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}' ;;
  */foreign/*) answer '200 OK' $list '{"schemaVersion":2,"mediaType":"'$list'","manifests":['"$other"']}' ;;
  *) answer '404 Not Found' $json '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}' ;;
esac
"#;

/// Serves every connection with it, for ever.
pub fn script() -> String {
    format!("cat > /answer <<'END'{ANSWER}END\nexec nc -ll -p 5999 -e sh /answer")
}
