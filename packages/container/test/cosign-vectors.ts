// Made for these tests by cosign 2.4.1 itself: a key pair, and its signature of an image in a registry of this machine.

/** Password of {@link COSIGN_KEY}. The key signs nothing anywhere. */
export const COSIGN_PASSWORD = 's3cret';

export const COSIGN_KEY = `-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJCbE5JSk01dHdqdzF3SSsrL28yeWpMdjgycGJoY2k5
Qi9TT2l0Y01tVXVvPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJvYU1NcmUyREhhSEF2UmpNSG8vcFZGNDMzRld6d0l4ZSJ9LCJj
aXBoZXJ0ZXh0IjoiOGpGc3pGeE4xZmFiZzB0cnR5UEY4TkZQbDRwSlkrbnZTYU93
b1U3WW1iS09icEZodEZxYlhESVZzYVJBNG1OUU4zUzRaam81NGpJc0tDR1ltekZU
azRNd1BwUnhOT3FLQ1JVRnZYT2g5c1E0SzFXajlONW80MXZtSmliQWRzZ2ZpNUpr
SXJaemJ0QWRGcGlpSUh5NGh6N1JQTWMzak9RZWpWRm4vWkgrbnYxQW1Rek94VVhD
ZEkrY0pTTjVXbGI4NUhFZUhvTUdzWTQvY3c9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
`;

export const COSIGN_PUBLIC_KEY = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExyoQ3yUk0B3vE2504/fTl0cvt4Ma
VDDQBT54QMW/PPd1QSlvWsfKaZhFcUeyohPofSut8SEJaS6o1X+ya/i1uQ==
-----END PUBLIC KEY-----
`;

/** What cosign signed, byte by byte. */
export const COSIGN_PAYLOAD: string =
  '{"critical":{"identity":{"docker-reference":"127.0.0.1:5791/acme/app"},"image":{"docker-manifest-digest":"sha256:cf9309ac5597690c0df8cff17c678204c888bc956ab51955dc0222fc56072c84"},"type":"cosign container image signature"},"optional":{"by":"cosign"}}';

/** Its signature, as the annotation has it. */
export const COSIGN_SIGNATURE =
  'MEQCICkJV3W6KSFhiuDeT0QHhoyo6YdemylPeZms5pBJ3oesAiBtR3New3sMg3mMsvwRPlhBjOXoRkDd2yIGAiGQuzgKlA==';

/** A manifest, byte by byte, and cosign's bundle with a signature of it. */
export const BUNDLE_MANIFEST: string =
  '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}';

export const COSIGN_BUNDLE: string =
  '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial":{"publicKey":{"hint":"cRfSd4NDdRjf2JdaWO7mTz0lrviFqC5NILQ9whJ8j7Y="}}, "dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjAuMSIsInByZWRpY2F0ZVR5cGUiOiJodHRwczovL3NpZ3N0b3JlLmRldi9jb3NpZ24vc2lnbi92MSIsInN1YmplY3QiOlt7Im5hbWUiOiJtYW5pZmVzdC5qc29uIiwiZGlnZXN0Ijp7InNoYTI1NiI6ImYyMGM0MzE2MWQ3Mzg0ODQwOGVmMjQ3ZjBlYzcxMTFiMTlmZTU4ZmZlYmMwY2JjYWEwZDJjOGJkYTQ5NjcyNjgifX1dLCJwcmVkaWNhdGUiOnt9fQ==", "payloadType":"application/vnd.in-toto+json", "signatures":[{"sig":"MEUCIBIgPXUPtD9KIvf3vWDmfZiqd6fQ6RDtGlxJDVAtfpDOAiEA+nTgoG9v++BbgV7FsN4oT8v9bYnoaqQVIHXEKnv72Yo="}]}}';
