// Tensors of other libraries as DLPack's C interface shows them: where their numbers lie, without a capsule made for each
// look, which takes longer than the loss of a few rows.
//
// The layout is a stable C interface of DLPack's, version 1: a type of tensors has the table as an attribute,
// `__dlpack_c_exchange_api__`. It is declared here by hand as far as it is needed, as XLA's is in xla.cpp.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace chainrule {

struct ExchangeTable {
  std::uint32_t major, minor;
  const ExchangeTable* older;
  void *allocate, *to_managed, *from_managed;
  int (*view)(void* tensor, nanobind::dlpack::dltensor* out);  // which owns nothing; or none
  void* stream;
};

// A tensor on the CPU, with the names of nb::ndarray; it lives as long as the tensor.
class TensorView {
 public:
  // Is that what the object is? No error is left behind where it is not.
  bool look(const ExchangeTable* table, PyObject* object) {
    constexpr int cpu = 1;
    if (table->major != 1 || !table->view) return false;
    if (table->view(object, &it_) != 0) return PyErr_Clear(), false;
    return it_.device.device_type == cpu && (it_.strides || it_.ndim == 0);
  }
  std::size_t ndim() const { return static_cast<std::size_t>(it_.ndim); }
  std::size_t shape(std::size_t axis) const { return static_cast<std::size_t>(it_.shape[axis]); }
  std::int64_t stride(std::size_t axis) const { return it_.strides[axis]; }
  nanobind::dlpack::dtype dtype() const { return it_.dtype; }
  void* data() const { return static_cast<char*>(it_.data) + it_.byte_offset; }

 private:
  nanobind::dlpack::dltensor it_;
};

// The table in an attribute's capsule; whose pointer is null, with an error, where it is something else.
inline const ExchangeTable* exchange_table(nanobind::handle capsule) {
  auto* const table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (!table) throw nanobind::python_error();
  return table;
}

}  // namespace chainrule
