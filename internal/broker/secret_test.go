// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string { return write(t, filepath.Join(dir, name), text, 0o600) }
	gone := filepath.Join(dir, "gone")
	given, fallback := file("given", "from the flag\n"), file("fallback", "from the folder\r\n")
	for _, row := range []struct {
		name                           string
		user, file, variable, fallback string
		want                           Credentials
		anonymous                      bool
	}{
		{"nothing", "", "", "", gone, Credentials{}, true},
		{"a user alone", "u", "", "", gone, Credentials{User: "u"}, true},
		{"variable", "", "", "v", gone, Credentials{"tsem", []byte("v")}, false},
		{"variable before folder", "", "", "v", fallback, Credentials{"tsem", []byte("v")}, false},
		{"folder", "", "", "", fallback, Credentials{"tsem", []byte("from the folder")}, false},
		{"flag before variable", "u", given, "v", fallback, Credentials{"u", []byte("from the flag")}, false},
		{"one line end only", "", file("two", "a\n\n"), "", "", Credentials{"tsem", []byte("a\n")}, false},
		{"blanks stay", "", file("blank", " a "), "", "", Credentials{"tsem", []byte(" a ")}, false},
	} {
		c, err := LoadCredentials(row.user, row.file, row.variable, row.fallback)
		if err != nil || c.User != row.want.User || string(c.Password) != string(row.want.Password) || (c.Password == nil) != row.anonymous {
			t.Errorf("%s: got %q %q, %v", row.name, c.User, c.Password, err)
		}
	}
}

func TestPasswordFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	rows := map[string]string{ // path, and a part of the message
		at("gone"):                         "no such file",
		dir:                                "it is a folder",
		write(t, at("empty"), "\n", 0o600): "is empty",
		write(t, at("long"), strings.Repeat("s", 65536), 0o600): "longer than 65535 bytes",
		write(t, at("others"), "secret", 0o644):                 "mode is 644 (chmod 600 " + at("others") + ")",
		write(t, at("written"), "secret", 0o602):                "mode is 602 (chmod 600",
		write(t, at("group writes"), "secret", 0o620):           "mode is 620 (chmod 600",
	}
	if os.Geteuid() == 0 {
		own := func(name string, uid, gid int, mode os.FileMode) string {
			path := write(t, at(name), "secret", mode)
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
			return path
		}
		rows[own("foreign", 12345, 0, 0o600)] = "another user"
		rows[own("group", 0, 12345, 0o640)] = "mode is 640 (chmod 600"
		if _, err := LoadCredentials("", own("credential", 0, 0, 0o440), "", ""); err != nil {
			t.Errorf("a file of root's group: %v", err)
		}
	}
	for path, want := range rows {
		_, err := LoadCredentials("", path, "", "")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "MQTT password") ||
			strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if _, err := LoadCredentials("", "", strings.Repeat("x", 65536), ""); err == nil {
		t.Error("a variable that is too long is taken")
	}
	// That of the folder is refused as well, though nobody named it.
	if _, err := LoadCredentials("", "", "", at("others")); err == nil {
		t.Error("a default file that others can read is taken")
	}
}

// pair makes a certificate and its key.
func pair(t *testing.T, dir, name string, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: until.Add(-time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return write(t, filepath.Join(dir, name+".crt"), encode("CERTIFICATE", der), 0o644),
		write(t, filepath.Join(dir, name+".key"), encode("PRIVATE KEY", keyDER), 0o600)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t, dir, "one", time.Now().Add(time.Hour))
	_, otherKey := pair(t, dir, "two", time.Now().Add(time.Hour))
	oldCert, oldKey := pair(t, dir, "old", time.Now().Add(-time.Hour))
	garbage := write(t, filepath.Join(dir, "garbage"), "no PEM\n", 0o600)
	locked := write(t, filepath.Join(dir, "locked"),
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n", 0o600)
	gone := filepath.Join(dir, "gone")
	for _, row := range []struct{ ca, cert, key, want string }{
		{"", "", "", ""},
		{cert, "", "", ""},
		{cert, cert, key, ""},
		{gone, "", "", "--ca " + gone + ": cannot read it: no such file"},
		{garbage, "", "", "holds no certificate"},
		{dir, "", "", "cannot read it: is a directory"},
		{"", gone, key, "--cert " + gone},
		{"", cert, gone, "--key " + gone},
		{"", garbage, key, "holds no certificate"},
		{"", cert, garbage, "holds no private key"},
		{"", cert, cert, "holds no private key"},
		{"", cert, locked, "is encrypted"},
		{"", cert, otherKey, "do not fit together"},
		{"", oldCert, oldKey, "has expired on"},
	} {
		config, err := LoadTLS(row.ca, row.cert, row.key)
		if row.want != "" {
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: got %v", row, err)
			}
			continue
		}
		if err != nil || config.InsecureSkipVerify || (config.RootCAs != nil) != (row.ca != "") || (len(config.Certificates) == 1) != (row.cert != "") {
			t.Errorf("%v: got %+v, %v", row, config, err)
		}
	}
}
