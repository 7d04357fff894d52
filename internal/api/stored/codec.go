package stored

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"tripod/internal/objects"
)

// Versions are the versions in which objects are on disk. Events of both groups are one kind, kept as the core's.
var Versions = schema.GroupVersions{
	corev1.SchemeGroupVersion,
	appsv1.SchemeGroupVersion,
	batchv1.SchemeGroupVersion,
	autoscalingv2.SchemeGroupVersion,
	policyv1.SchemeGroupVersion,
	discoveryv1.SchemeGroupVersion,
	coordinationv1.SchemeGroupVersion,
}

// KubernetesCodec reads and writes what is on disk: Kubernetes' protobuf, in the versions of Versions.
func KubernetesCodec() runtime.Codec {
	info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	return legacyscheme.Codecs.CodecForVersions(info.Serializer, legacyscheme.Codecs.UniversalDeserializer(), Versions, runtime.InternalGroupVersioner)
}

// Codec is KubernetesCodec as objects.Store wants it.
func Codec() objects.Codec { return codec{KubernetesCodec()} }

type codec struct{ k runtime.Codec }

func (c codec) Encode(obj runtime.Object) ([]byte, error)  { return runtime.Encode(c.k, obj) }
func (c codec) Decode(data []byte) (runtime.Object, error) { return runtime.Decode(c.k, data) }
