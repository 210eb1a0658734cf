/** What a TLS connection fails with, by the codes of Node: https://nodejs.org/api/tls.html#x509-certificate-error-codes */

/** The other side's certificate is not trusted, or not for its name or its time. */
export const CERTIFICATE_CODES: readonly string[] = [
  ...['ERR_TLS_CERT_ALTNAME_INVALID', 'CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID', 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  ...['SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT'],
  ...['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'CERT_SIGNATURE_FAILURE', 'CERT_UNTRUSTED', 'CERT_REVOKED'],
]

/** The other side does not speak TLS. */
export const NO_TLS_CODES: readonly string[] = ['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER']
