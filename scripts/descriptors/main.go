// Writes the descriptors of Envoy's API v3 as one serialised FileDescriptorSet to standard output: every message that
// Envoy knows, with the constraints (validate.rules) and annotations (sensitive) in its options. Files come in the
// order of their dependencies, so the same module always gives the same bytes. Comments are not in it.
package main

import (
	"os"
	"regexp"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The module also has v2, which Envoy has not served since 2021.
var wanted = regexp.MustCompile(`^((envoy|xds)/.*v3(alpha)?|cel/expr)/[^/]*$`)

func main() {
	var paths []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if wanted.MatchString(file.Path()) {
			paths = append(paths, file.Path())
		}
		return true
	})
	sort.Strings(paths)
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(path string)
	add = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		file, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			panic(err)
		}
		imports := file.Imports()
		for i := 0; i < imports.Len(); i++ {
			add(imports.Get(i).Path())
		}
		written := protodesc.ToFileDescriptorProto(file)
		for _, message := range written.MessageType {
			withoutJSONNames(message)
		}
		set.File = append(set.File, written)
	}
	for _, path := range paths {
		add(path)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.Write(data); err != nil {
		panic(err)
	}
}

// They follow from the names.
func withoutJSONNames(message *descriptorpb.DescriptorProto) {
	for _, field := range message.Field {
		field.JsonName = nil
	}
	for _, nested := range message.NestedType {
		withoutJSONNames(nested)
	}
}
