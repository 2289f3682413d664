// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// LoadTLS makes the configuration of a secure connection. ca is a file of
// certificates that are trusted in the place of the system's, cert and key are
// what we show; each may be "". The name of the broker is always checked.
func LoadTLS(ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := readPEM("--ca", ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca %s: it holds no certificate in PEM form", ca)
		}
	}
	if cert == "" {
		return config, nil
	}
	pair, err := loadPair(cert, key)
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

func loadPair(cert, key string) (tls.Certificate, error) {
	certText, err := readPEM("--cert", cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyText, err := readPEM("--key", key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if !has(certText, "CERTIFICATE") {
		return tls.Certificate{}, fmt.Errorf("--cert %s: it holds no certificate in PEM form", cert)
	}
	if bytes.Contains(keyText, []byte("ENCRYPTED")) {
		return tls.Certificate{}, fmt.Errorf("--key %s: the key is encrypted (openssl pkey -in FILE -out FILE writes it without)", key)
	}
	if !has(keyText, "PRIVATE KEY") {
		return tls.Certificate{}, fmt.Errorf("--key %s: it holds no private key in PEM form", key)
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		return tls.Certificate{}, fmt.Errorf("--cert %s and --key %s do not fit together: %s", cert, key, text)
	}
	if end := pair.Leaf.NotAfter; time.Now().After(end) {
		return tls.Certificate{}, fmt.Errorf("--cert %s: the certificate has expired on %s", cert, end.Format(time.DateOnly))
	}
	return pair, nil
}

func readPEM(flag, path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		if e := (*os.PathError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("%s %s: cannot read it: %w", flag, path, err)
	}
	return text, nil
}

// has tells whether a text has a block of that type, or one whose name ends so.
func has(text []byte, kind string) bool {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
		text = rest
	}
}
