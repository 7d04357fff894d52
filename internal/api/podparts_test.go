package api

import "testing"

// TestPodParts changes a Pod by the subresources that own a part of it each, and sees that each changes nothing else.
func TestPodParts(t *testing.T) {
	f := running(t)
	debugged := f.must(200, "PATCH", podsAt+"/one/ephemeralcontainers", `{"spec":{"ephemeralContainers":[{"name":"debugger","image":"busybox","targetContainerName":"a"}],"nodeName":"other"}}`, strategic)
	if debugged.at("spec", "ephemeralContainers", 0, "name") != "debugger" || debugged.at("spec", "nodeName") != "host" {
		t.Errorf("debugged: %s", debugged.body)
	}
	f.must(422, "PATCH", podsAt+"/one/ephemeralcontainers", `{"spec":{"ephemeralContainers":[{"name":"debugger","image":"another"}]}}`, strategic)

	f.must(422, "PATCH", podsAt+"/one/resize", `{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"100m"}}}]}}`, strategic)
	f.must(201, "POST", podsAt, `{"metadata":{"name":"sized"},"spec":{"nodeName":"host","containers":[{"name":"a","image":"i","resources":{"requests":{"cpu":"100m"}}}]}}`)
	sized := f.must(200, "PATCH", podsAt+"/sized/resize", `{"spec":{"containers":[{"name":"a","image":"other","resources":{"requests":{"cpu":"200m"}}}]}}`, strategic)
	if sized.at("spec", "containers", 0, "resources", "requests", "cpu") != "200m" || sized.at("spec", "containers", 0, "image") != "i" {
		t.Errorf("resized: %s", sized.body)
	}
	f.must(422, "PATCH", podsAt+"/sized", `{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"300m"}}}]}}`, strategic)
	f.must(200, "DELETE", podsAt+"/sized?gracePeriodSeconds=0", "")

	told := f.must(200, "PATCH", podsAt+"/one/status", `{"metadata":{"labels":{"a":"b"}},"spec":{"nodeName":"other"},"status":{"phase":"Running","podIP":"10.88.0.2","podIPs":[{"ip":"10.88.0.2"}]}}`, strategic)
	if told.at("status", "phase") != "Running" || told.at("spec", "nodeName") != "host" {
		t.Errorf("status: %s", told.body)
	}
	kept := f.must(200, "PATCH", podsAt+"/one", `{"status":{"phase":"Failed"},"metadata":{"labels":{"c":"d"}}}`, strategic)
	if kept.at("status", "phase") != "Running" || kept.at("metadata", "labels", "c") != "d" {
		t.Errorf("the Pod itself: %s", kept.body)
	}
	f.must(409, "POST", podsAt+"/one/binding", `{"metadata":{"name":"one"},"target":{"kind":"Node","name":"third"}}`)
	cells := f.must(200, "GET", podsAt, "", asTable).at("rows", 0, "cells").([]any)
	if cells[5] != "10.88.0.2" || cells[6] != "host" {
		t.Errorf("cells %v", cells)
	}
}
