# A room is a folder and the library that is built from it. `vit_room` makes the build fail if a file of the room includes
# a file of a room that MAY_USE does not list.
#
#   vit_room(TARGET FOLDER server/rpc MAY_USE server/base)
#
# An entry of MAY_USE is a folder or one header. Headers that protoc generates and those of other projects are not looked
# at. A room may always use itself.
function(vit_room target)
  cmake_parse_arguments(ROOM "" "FOLDER" "MAY_USE" ${ARGN})
  file(
    GLOB files
    CONFIGURE_DEPENDS
    ${CMAKE_SOURCE_DIR}/${ROOM_FOLDER}/*.h
    ${CMAKE_SOURCE_DIR}/${ROOM_FOLDER}/*.cc)
  set(stamp ${CMAKE_CURRENT_BINARY_DIR}/${target}.room)
  set(script ${CMAKE_SOURCE_DIR}/cmake/check_room.cmake)
  add_custom_command(
    OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} "-DFOLDER=${ROOM_FOLDER}" "-DMAY_USE=${ROOM_MAY_USE}" "-DSOURCE_DIR=${CMAKE_SOURCE_DIR}" -P
            ${script}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${files} ${script}
    COMMENT "Checking what ${ROOM_FOLDER} includes"
    VERBATIM)
  add_custom_target(${target}_room DEPENDS ${stamp})
  add_dependencies(${target} ${target}_room)
endfunction()
